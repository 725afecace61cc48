"""The ledger's tables. A change here needs a migration in ``migrations/versions``."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
)
from sqlalchemy.engine import Dialect


class Instant(TypeDecorator[datetime]):
    """A point in time, stored and returned in UTC; SQLite itself knows no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The instant as stored; one without a zone is an error of the caller."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The instant as stored, with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Text(TypeDecorator[str]):
    """A text; PostgreSQL holds none with a NUL, which is replaced."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text as stored."""
        return value if value is None else value.replace("\0", "\N{REPLACEMENT CHARACTER}")


metadata = MetaData()

COUNTS = ("received", "accepted", "rejected", "duplicate", "suppressed", "unknown_keys", "drift", "clamped")

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False, unique=True),
    Column("target", Text, nullable=False, index=True),
    Column("source", Text, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("files", JSON, nullable=False),
    Column("taken_at", Instant, nullable=False),
    Column("ended_at", Instant),
    *(Column(name, BigInteger, nullable=False, server_default="0") for name in COUNTS),
    CheckConstraint("state in ('taken', 'committed', 'abandoned')", name="batches_state"),
    CheckConstraint(
        "state <> 'committed' or received = accepted + rejected + duplicate + suppressed",
        name="batches_add_up",
    ),
)

batch_days = Table(
    "batch_days",
    metadata,
    Column("batch_id", ForeignKey("batches.id"), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("rows", BigInteger, nullable=False),
)

data_versions = Table(
    "data_versions",
    metadata,
    Column("data_type", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("erasures", Integer, nullable=False, server_default="0"),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("key_hash", Text, primary_key=True),
    Column("erased_at", Instant, nullable=False),
)

watermarks = Table(
    "watermarks",
    metadata,
    Column("source", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("read_to", Instant, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("request", JSON, nullable=False),
    Column("user_filter", LargeBinary),
    Column("created_by", Text, nullable=False),
    Column("created_at", Instant, nullable=False, index=True),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("expires_at", Instant),
    Column("attempt", Integer, nullable=False),
    Column("processed_rows", BigInteger, nullable=False),
    Column("estimated_rows", BigInteger, nullable=False),
    Column("estimated_bytes", BigInteger, nullable=False),
    Column("estimated_completion", Instant, nullable=False),
    Column("rows", BigInteger),
    Column("bytes", BigInteger),
    Column("withheld", BigInteger),
    Column("path", Text),
    Column("error_code", Text),
    Column("error_message", Text),
    CheckConstraint(
        "state in ('queued', 'processing', 'complete', 'failed', 'cancelled', 'expired')", name="jobs_state"
    ),
    CheckConstraint(
        "state not in ('complete', 'expired') or (path is not null and expires_at is not null)",
        name="jobs_complete",
    ),
    CheckConstraint("state <> 'failed' or error_code is not null", name="jobs_failed"),
    CheckConstraint("user_filter is null or state in ('queued', 'processing')", name="jobs_forget_users"),
    Index("jobs_created_by", "created_by", "number"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("hint", Text, nullable=False, index=True),
    Column("hash", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
)

links = Table(
    "links",
    metadata,
    Column("id", Text, primary_key=True),
    Column("job_id", ForeignKey("jobs.id"), nullable=False, index=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
    Column("path", Text),
)

downloads = Table(
    "downloads",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("link_id", ForeignKey("links.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

answers = Table(
    "answers",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("hash", Text, primary_key=True),
    Column("body_hash", Text, nullable=False),
    Column("result_id", Text, nullable=False),
    Column("created_at", Instant, nullable=False, index=True),
    Column("status", Integer),
    Column("data", JSON),
)

erasures = Table(
    "erasures",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("state", Text, nullable=False, index=True),
    Column("pass_id", Text, index=True),
    Column("subject", Text, nullable=False, index=True),
    Column("person", LargeBinary),
    Column("created_by", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("erased_at", Instant),
    Column("watermark", BigInteger),
    Column("ended_at", Instant),
    Column("attempt", Integer, nullable=False),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("certificate", Text),
    CheckConstraint("state in ('queued', 'processing', 'complete', 'failed')", name="erasures_state"),
    CheckConstraint("state <> 'failed' or error_code is not null", name="erasures_failed"),
    CheckConstraint(
        "state <> 'complete' or (person is null and certificate is not null)", name="erasures_complete"
    ),
)

erasure_steps = Table(
    "erasure_steps",
    metadata,
    Column("pass_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("result", JSON, nullable=False),
    Column("done_at", Instant, nullable=False),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("url", Text, nullable=False),
    Column("events", JSON, nullable=False),
    Column("description", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("secret", LargeBinary, nullable=False),
    Column("previous_secret", LargeBinary),
    Column("previous_until", Instant),
    Column("failing_since", Instant),
    Column("created_at", Instant, nullable=False),
    Column("last_attempt_at", Instant),
    Column("made_for", Text),
    Column("forgotten_successes", BigInteger, nullable=False, server_default="0"),
    Column("forgotten_failures", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("status in ('active', 'disabled')", name="webhooks_status"),
    CheckConstraint("(previous_secret is null) = (previous_until is null)", name="webhooks_rotation"),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("event", Text, nullable=False),
    Column("webhook_id", ForeignKey("webhooks.id", ondelete="CASCADE")),
    Column("address", LargeBinary),
    Column("job_id", Text),
    Column("data", JSON, nullable=False),
    Column("once", Text, unique=True),
    Column("test", Boolean, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Instant),
    Column("claim", Text),
    Column("claimed_until", Instant),
    Column("error", Text),
    Column("created_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Index("messages_due", "state", "next_attempt_at"),
    Index("messages_of_webhook", "webhook_id", "number"),
    Index("messages_counted", "webhook_id", "state", "number"),
    Index("messages_ended", "ended_at"),
    CheckConstraint("state in ('pending', 'success', 'failed')", name="messages_state"),
    CheckConstraint("(state = 'pending') = (next_attempt_at is not null)", name="messages_next"),
    CheckConstraint("(webhook_id is null) <> (address is null)", name="messages_recipient"),
    CheckConstraint("(claim is null) = (claimed_until is null)", name="messages_claim"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("message_id", ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("milliseconds", Integer, nullable=False),
    Column("code", Integer),
    Column("response", Text, nullable=False),
    Column("error", Text),
    Column("request_headers", JSON, nullable=False, server_default="{}"),
    Column("response_headers", JSON, nullable=False, server_default="{}"),
)

schedules = Table(
    "schedules",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("frequency", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("request", JSON, nullable=False),
    Column("user_filter", LargeBinary),
    Column("webhook_id", ForeignKey("webhooks.id")),
    Column("address", LargeBinary),
    Column("enabled", Boolean, nullable=False),
    Column("reason", Text),
    Column("next_day", Date, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    CheckConstraint("frequency in ('daily', 'weekly')", name="schedules_frequency"),
    CheckConstraint("mode in ('full', 'incremental')", name="schedules_mode"),
    CheckConstraint("(webhook_id is null) <> (address is null)", name="schedules_recipient"),
    CheckConstraint("reason is null or not enabled", name="schedules_reason"),
)

kept_from = Table(
    "kept_from",
    metadata,
    Column("data_type", Text, primary_key=True),
    Column("day", Date, nullable=False),
)

expired_exports = Table(
    "expired_exports",
    metadata,
    Column("data_type", Text, primary_key=True),
    Column("format", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("data_version", Integer, nullable=False),
    Column("expired_at", Instant, nullable=False),
    Column("announced", Boolean, nullable=False),
)

metric_days = Table(
    "metric_days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("computed_from", JSON, nullable=False),
    Column("computed_at", Instant, nullable=False),
)

retention_rounds = Table(
    "retention_rounds",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("removed", JSON, nullable=False),
)

notices = Table(
    "notices",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("told_at", Instant, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("who", Text, nullable=False),
    Column("how", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
)

login_links = Table(
    "login_links",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("expires_at", Instant, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", Instant, nullable=False, index=True),
    Column("who", Text, nullable=False),
    Column("how", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("request_id", Text, nullable=False),
)

key_marks = Table(
    "key_marks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("mark", Text, nullable=False),
)
