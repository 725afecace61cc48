"""One name for one thing: what forms call data types, formats and modes, wherever they are shown."""

from collections.abc import Iterable

from export_pipeline.portal.export_form import FORMATS, TYPES
from export_pipeline.portal.schedule_form import MODES

_COMPRESSIONS = {"gzip": "gzip", "none": "not compressed"}
_LABELS = {option.value: option.label for options in (TYPES, FORMATS, MODES) for option in options}


def label(value: str) -> str:
    """The name of a data type, format, compression or mode."""
    return _LABELS.get(value) or _COMPRESSIONS.get(value, value)


def labels(values: Iterable[str]) -> str:
    """The names of several."""
    return ", ".join(map(label, values))
