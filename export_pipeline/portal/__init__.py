"""The admin portal: pages for people who do not write code, over the same services as the API.

Everything works without JavaScript; with it, htmx makes forms and lists follow what happens.
"""

from export_pipeline.portal.app import attach

__all__ = ["attach"]
