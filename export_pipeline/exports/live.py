"""The live daily exports as one look finds them: each tree of a data type and format is listed once, however
many days are asked for, and each manifest read once."""

from datetime import date

from export_pipeline.errors import DamagedData
from export_pipeline.exports.daily import DailyExport, daily_tree, live_daily, newest_versions, read
from export_pipeline.settings import Settings


class LiveDays:
    """A look at one instant; not to be kept."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._newest: dict[tuple[str, str], dict[date, int]] = {}
        self._read: dict[tuple[str, str, date], DailyExport] = {}

    def __call__(self, data_type: str, format: str, day: date) -> DailyExport | None:
        """The highest published version of a partition, unread; None if there is none.

        Raises:
            DamagedData: if its manifest cannot be read, naming it.
        """
        key = (data_type, format, day)
        if key in self._read:
            return self._read[key]
        tree = daily_tree(self._settings, data_type, format)
        if (data_type, format) not in self._newest:
            self._newest[data_type, format] = newest_versions(tree)
        if (number := self._newest[data_type, format].get(day)) is None:
            return None
        path = tree / day.isoformat() / f"v{number}"
        try:
            found: DailyExport | None = DailyExport(read(path, self._settings), path, False, 0.0)
        except DamagedData:
            found = live_daily(self._settings, data_type, format, day)  # it may have gone since
        if found is not None:
            self._read[key] = found
        return found
