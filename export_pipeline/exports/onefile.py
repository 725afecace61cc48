"""An export as one file: what kind it is, and how long (contract, section 4, ``downloadUrl``).

Its bytes are put together in ``delivery``.
"""

from export_pipeline.exports.encoding import header
from export_pipeline.exports.layout import MANIFEST, descriptions
from export_pipeline.exports.manifest import Manifest
from export_pipeline.exports.request import check_format
from export_pipeline.gzip_member import member
from export_pipeline.objects import AnyPath, files_below, relative
from export_pipeline.zipping import archive_length


def is_zip(manifest: Manifest) -> bool:
    """Whether it is an archive of the export's directory: its types have different columns."""
    return manifest.format == "csv" and len(manifest.data_types) > 1


def zip_names(manifest: Manifest) -> list[str]:
    """The files of the archive, in order, by their names in the export's directory."""
    described = (name for data_type in manifest.data_types for name in descriptions(data_type))
    return [MANIFEST, *described, *(file.name for file in manifest.files)]


def one_file_bytes(folder: AnyPath, manifest: Manifest) -> int:
    """The bytes of the one file of the export in ``folder``."""
    if is_zip(manifest):
        sizes = sizes_below(folder)
        return archive_length([(name, sizes[name]) for name in zip_names(manifest)])
    return manifest.total_bytes - header_bytes(manifest) * (len(manifest.files) - 1)


def sizes_below(folder: AnyPath) -> dict[str, int]:
    """The bytes of each file of the export in ``folder``, by its name there."""
    return {relative(path, folder): size for path, size, _ in files_below(folder)}


def header_bytes(manifest: Manifest) -> int:
    """The bytes with which each part of one data type begins, and its one file once."""
    start = header(manifest.data_types[0], check_format(manifest.format))
    return len(member(start)) if start and manifest.compression == "gzip" else len(start)
