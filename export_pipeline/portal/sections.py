"""The portal's navigation: which pages there are, in which section."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """A page of the navigation; ``path`` is below the portal's."""

    title: str
    path: str


@dataclass(frozen=True)
class Section:
    """Pages under a common title; the title alone if there is one page."""

    title: str
    links: tuple[Link, ...]


SECTIONS = (
    Section("Analytics", (Link("Export data", "/exports"), Link("Overview", "/overview"))),
    Section("Privacy", (Link("Access and erasure", "/privacy"),)),
    Section(
        "Settings",
        (Link("Data export", "/schedules"), Link("Webhooks", "/webhooks"), Link("API keys", "/keys")),
    ),
    Section("Operation", (Link("Status", "/status"), Link("Activity", "/activity"))),
)
