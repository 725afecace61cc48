"""Settings: the environment, read and checked once, as one frozen object (contract, section 9).

Nothing else reads the environment, and nothing reads it at import.
"""

import os
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError
from upath import UPath

from export_pipeline import allowed, database_url, objects
from export_pipeline.database_url import DatabaseUrl
from export_pipeline.errors import InvalidSetting

PREFIX = "EXPORT_PIPELINE_"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
MAIL_PATTERN = rf"^{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*$"
"""An e-mail address: nothing in it can end a header or begin another."""
_PASSWORD_LENGTH = 12
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class Settings(BaseModel):
    """Every setting. The environment variable is the field's name in capitals after the prefix."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(Path("var"), description="Root of all state")
    object_store: str = Field(
        "",
        pattern="^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()-]+)*/?)?$",
        description="Where data is kept instead of below the state root, as s3://bucket/prefix",
    )
    s3_endpoint: str = Field(
        "",
        pattern="^(https?://[^/?#@]+)?$",
        description="Where an S3 store answers that is not AWS, such as https://objects.example.com",
    )
    s3_region: str = Field(
        "", pattern="^[a-z0-9-]*$", description="Its region; without one the usual means of AWS are asked"
    )
    database: DatabaseUrl = Field(
        DatabaseUrl(""),
        description="PostgreSQL database that holds ledger, catalog and Dagster's state, as "
        f"{database_url.FORM}; without one they are SQLite files below the state root",
    )
    s3_public_endpoint: str = Field(
        "",
        pattern="^(https?://[^/?#@]+)?$",
        description="Where those who download reach the S3 store, if not at s3_endpoint",
    )
    s3_downloads: Literal["presigned", "api"] = Field(
        "presigned",
        description="Whether downloads are sent on to presigned URLs of the store, or pass through the API",
    )
    first_day: date = Field(date(2026, 1, 1), description="First day that has a partition, as YYYY-MM-DD")
    raw_retention_days: int = Field(90, ge=1, le=3650, description="Days that raw events are kept")
    close_delay_minutes: int = Field(
        120, ge=0, le=1440, description="Minutes after midnight at which a day may close"
    )
    export_hour: int = Field(
        3, ge=0, le=23, description="Off-peak hour (UTC) at which daily and scheduled exports start"
    )
    export_check_minutes: int = Field(
        15,
        ge=1,
        le=30,
        description="Minutes between looks, from the export hour on, whether days have closed",
    )
    workers: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, le=256, description="Threads that make windows"
    )
    scheduler: str = Field(
        "",
        pattern=r"^((tcp|tls)://[^/?#\s]+:[0-9]+)?$",
        description="A Dask scheduler whose workers make windows instead, such as tcp://10.0.0.5:8786",
    )
    window_rows: int = Field(
        50_000, ge=1, le=10_000_000, description="Rows aimed at in a window, the unit of work of an export"
    )
    part_bytes: int = Field(
        1 << 30, ge=1 << 10, description="Uncompressed bytes after which a new part file begins"
    )
    batch_bytes: int = Field(
        1 << 28, ge=1 << 10, description="Bytes of landing files taken as one batch; a larger file is one"
    )

    jobs_per_day: int = Field(
        20, ge=1, le=1_000_000, description="Exports that can be asked for in a day (UTC)"
    )
    restate_quiet_minutes: int = Field(
        15,
        ge=0,
        le=1440,
        description="Minutes after rows came for a day that was exported until its next version is made",
    )
    export_retention_days: int = Field(7, ge=1, le=3650, description="Days that export files are kept")

    aggregate_retention_days: int = Field(
        730, ge=1, le=36_500, description="Days that daily metrics are kept"
    )
    log_retention_days: int = Field(
        90,
        ge=1,
        le=3650,
        description="Days that Dagster's runs with their logs, and the logs of downloads and deliveries, are "
        "kept",
    )
    audit_retention_days: int = Field(
        730, ge=1, le=36_500, description="Days that the log of what was done in the portal is kept"
    )
    retention_hour: int = Field(
        4, ge=0, le=23, description="Hour (UTC) at which what is past its time is removed"
    )
    metrics_min_viewers: int = Field(
        5,
        ge=1,
        le=1_000_000,
        description="Viewers under which a cell of the daily metrics is merged into others",
    )

    public_url: str = Field(
        "",
        pattern="^(https?://[^/?#]+[^?#]*)?$",
        description="Where callers reach the API, such as https://exports.example.com; "
        "without it links lead to where each caller found it",
    )
    trusted_proxies: str = Field(
        "127.0.0.1,::1",
        description="Comma-separated networks of the proxies that say by X-Forwarded-For and "
        "X-Forwarded-Proto where requests come from",
    )
    rate_limit: int = Field(
        600, ge=1, le=10_000_000, description="Requests a minute that the API answers for one key"
    )
    body_bytes: int = Field(
        1 << 20, ge=1 << 10, le=1 << 28, description="Bytes that the body of a request to the API may have"
    )

    portal_password: SecretStr = Field(
        SecretStr(""),
        description="Password of the portal, 12 characters or more; without one it is made on first use",
    )
    portal_user_header: str = Field(
        "",
        pattern="^([A-Za-z0-9-]+)?$",
        description="Header in which a proxy says who is logged in, such as X-Forwarded-User; there is then "
        "no login with a password unless one is set",
    )
    portal_proxies: str = Field(
        "",
        validate_default=True,
        description="Comma-separated networks of the proxies from which that header is believed",
    )
    portal_idle_minutes: int = Field(
        60, ge=1, le=1440, description="Minutes without use after which a session of the portal ends"
    )
    portal_session_hours: int = Field(
        12, ge=1, le=168, description="Hours after which a session of the portal ends in any case"
    )
    dagster_url: str = Field(
        "",
        pattern="^(https?://[^/?#]+[^?#]*)?$",
        description="Where people reach the Dagster UI, such as http://127.0.0.1:3000; none: no links to it",
    )

    webhook_allow: str = Field(
        "",
        description="Where webhooks may go besides public HTTPS addresses: comma-separated networks, host "
        "names, http:// origins",
    )
    smtp_host: str = Field("", description="Mail server; without one no e-mail is sent")
    smtp_port: int = Field(587, ge=1, le=65535, description="Its port: usually 587 (starttls) or 465 (tls)")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="How the connection to it is secured; none only on this machine"
    )
    smtp_user: str = Field("", description="User it is logged in to with; without one there is no login")
    smtp_password: SecretStr = Field(SecretStr(""), description="Password of that user")
    mail_from: str = Field(
        "exports@localhost", pattern=MAIL_PATTERN, description="Address that e-mail is sent from"
    )
    operator_email: str = Field(
        "", pattern=f"^$|{MAIL_PATTERN}", description="Address that is told what is broken; none: nobody"
    )

    duckdb_source: Path | None = Field(
        None, description="A DuckDB database with tables like ours; what is new in it is taken in"
    )
    duckdb_overlap_minutes: int = Field(
        60, ge=0, le=10_080, description="Minutes before the last time that are read again from it"
    )
    compaction_files: int = Field(
        4, ge=1, le=1000, description="Files a day and user bucket may have before they are merged"
    )
    snapshot_hours: float = Field(
        1, ge=0, le=720, description="Hours that replaced store files are kept for those who read them"
    )
    orphan_hours: float = Field(
        24, ge=1, le=720, description="Hours after which a store file that nothing refers to is removed"
    )
    silence_hours: float = Field(
        24, gt=0, le=8760, description="Hours without a landed batch after which a data type is reported"
    )
    quarantine_share: float = Field(
        0.05, gt=0, le=1, description="Share of a day's received lines in quarantine that is reported"
    )

    fault_point: str = Field(
        "", description="For tests of recovery: the point at which the process ends itself"
    )

    @field_validator("home")
    @classmethod
    def _fits_in_locations(cls, home: Path) -> Path:
        # Tables and databases name their files by locations in which these mean something else.
        if set(str(home.expanduser().absolute())) & set("?#\t\r\n"):
            raise PydanticCustomError("home", "its path must hold no `?`, no `#`, no tab and no line end")
        return home

    @field_validator("database")
    @classmethod
    def _is_address(cls, database: DatabaseUrl) -> DatabaseUrl:
        if url := database.get_secret_value():
            try:
                database_url.check(url)
            except ValueError as error:
                raise PydanticCustomError("database", "{reason}", {"reason": str(error)}) from None
        return database

    @field_validator("webhook_allow")
    @classmethod
    def _can_be_read(cls, text: str) -> str:
        try:
            allowed.parse(text)
        except ValueError as error:
            raise PydanticCustomError("webhook_allow", "{reason}", {"reason": str(error)}) from None
        return text

    @field_validator("smtp_security")
    @classmethod
    def _is_secure(cls, security: str, others: ValidationInfo) -> str:
        if security == "none" and others.data.get("smtp_host") not in ("", *_THIS_MACHINE):
            raise PydanticCustomError("smtp_security", "it must be starttls or tls, as it is another machine")
        return security

    @field_validator("portal_password")
    @classmethod
    def _is_long(cls, password: SecretStr) -> SecretStr:
        if 0 < len(password.get_secret_value()) < _PASSWORD_LENGTH:
            raise PydanticCustomError(
                "portal_password", f"it must have {_PASSWORD_LENGTH} characters or more"
            )
        return password

    @field_validator("portal_proxies", "trusted_proxies")
    @classmethod
    def _are_networks(cls, text: str, others: ValidationInfo) -> str:
        try:
            found = allowed.networks(text)
        except ValueError as error:
            raise PydanticCustomError("proxies", "{reason}", {"reason": str(error)}) from None
        if not found and others.data.get("portal_user_header"):
            raise PydanticCustomError(
                "portal_proxies", "it must name networks, such as 10.1.0.0/16, as portal_user_header is set"
            )
        return text

    @cached_property
    def proxies(self) -> tuple[allowed.Network, ...]:
        """Where requests come from whose header says who is logged in to the portal."""
        return allowed.networks(self.portal_proxies)

    @cached_property
    def allowed(self) -> allowed.Allowed:
        """Where webhooks may go besides public HTTPS addresses."""
        return allowed.parse(self.webhook_allow)

    @cached_property
    def close_delay(self) -> timedelta:
        """How long after its midnight a day may close."""
        return timedelta(minutes=self.close_delay_minutes)

    @cached_property
    def root(self) -> Path:
        """The state root as an absolute path."""
        return self.home.expanduser().absolute()

    @cached_property
    def data(self) -> UPath:
        """Where the trees of data lie: the state root, or a prefix of a bucket."""
        if self.object_store:
            return objects.place(self.object_store.rstrip("/"), self.s3_endpoint, self.s3_region)
        return UPath(self.root)

    @property
    def landing(self) -> UPath:
        """Where batches land, a folder a data type, ``users/`` for the user tables."""
        return self.data / "landing"

    @property
    def store(self) -> UPath:
        """Where the tables' files live."""
        return self.data / "store"

    @property
    def exports(self) -> UPath:
        """Where exports are published."""
        return self.data / "exports"

    @property
    def quarantine(self) -> UPath:
        """Where rejected lines are kept."""
        return self.data / "quarantine"

    @property
    def certificates(self) -> UPath:
        """Where certificates of erasures are kept."""
        return self.data / "certificates"

    @property
    def tmp(self) -> Path:
        """Where files are made before they are moved to their final name."""
        return self.root / "tmp"


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of ``environ`` (default: this process's). An empty variable is as good as none.

    Raises:
        InvalidSetting: naming the variable, its value and what would be right; also for a variable
            with the prefix that is no setting, so that a typing error is not silently a default.
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in environ.items() if name.startswith(PREFIX) and value}
    known = {variable(field): field for field in Settings.model_fields}
    for name in sorted(given.keys() - known.keys()):
        raise InvalidSetting(f"{name} is not a setting; `export-pipeline settings` lists them", field=name)
    try:
        return Settings.model_validate({known[name]: value for name, value in given.items()})
    except ValidationError as error:
        first = error.errors()[0]
        name = variable(str(first["loc"][0]))
        right = first["msg"].replace("Input should", "it must", 1)
        secret = isinstance(Settings.model_fields[str(first["loc"][0])].default, SecretStr)
        shown = "cannot be used, and is not shown" if secret else f"is {first['input']!r}"
        raise InvalidSetting(f"{name} {shown}; {right}", field=name) from None


def describe(settings: Settings, environ: Mapping[str, str] | None = None) -> list[dict[str, str]]:
    """Every setting with its variable, value, description and source (``environment`` or ``default``)."""
    environ = os.environ if environ is None else environ
    return [
        {
            "name": field,
            "variable": variable(field),
            "value": str(settings.root if field == "home" else getattr(settings, field)),
            "source": "environment" if environ.get(variable(field)) else "default",
            "description": info.description or "",
        }
        for field, info in Settings.model_fields.items()
    ]
