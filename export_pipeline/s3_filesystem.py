"""How S3 is reached by the methods of a path: by s3fs, which tries again what a store in trouble refuses.

Imported by name, where there is a bucket (see ``objects``): s3fs takes long to import, and memory.
"""

from s3fs import S3FileSystem
from s3fs.core import set_custom_error_handler

from export_pipeline import buckets
from export_pipeline.objects import ATTEMPTS

_TROUBLE = ("InternalError", "ServiceUnavailable", "RequestTimeout", "500", "502", "503", "504")

set_custom_error_handler(lambda error: buckets.code_of(error) in _TROUBLE)


class PatientFileSystem(S3FileSystem):  # type: ignore[misc]
    """The files of buckets."""

    retries = ATTEMPTS
