"""The tables of the service: who may ask, what was asked, what is reserved, how long it took."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from .line import metadata

customer = Table(
    "customer",
    metadata,
    Column("id", String, primary_key=True),  # chosen by the owner, such as "acme"
    Column("legal_name", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("timezone", String, nullable=False),
    Column("country", String),
    Column("tax_id", String),
    Column("e_invoice_address", String),
    Column("created_us", BigInteger, nullable=False),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", String, primary_key=True),
    Column("customer_id", String, ForeignKey("customer.id"), index=True),  # null: a key of the team itself
    Column("role", String, nullable=False),
    Column("scopes", Text, nullable=False),  # JSON list
    Column("prefix", String, nullable=False),  # the first characters, to tell keys apart
    Column("hash", String, nullable=False, unique=True),  # sha256 of the secret, which is random
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("revoked_us", BigInteger),
    Column("replaces", String, ForeignKey("api_key.id")),
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
    Column("concurrency", Integer),
)

secret = Table(
    "secret",  # keys of our own, such as the one that bodies are compared by
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)

usage_event = Table(
    "usage_event",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("source", String, nullable=False),  # who made the id: a customer's scope, or an importer
    Column("event_id", String, nullable=False),
    Column("customer_id", String, ForeignKey("customer.id"), nullable=False),
    Column("key_id", String, ForeignKey("api_key.id")),
    Column("contract_id", String, ForeignKey("contract.id"), nullable=False),
    Column("meter", String, ForeignKey("meter.code"), nullable=False),
    Column("occurred_us", BigInteger, nullable=False),
    Column("recorded_us", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),  # all that were read, the cached ones among them
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("duration_us", BigInteger, nullable=False),
    Column("quantity", BigInteger, nullable=False),  # of a meter that does not count tokens
    Column("plan_version_id", String, ForeignKey("plan_version.id"), nullable=False),
    Column("release_id", String),
    Column("finish", String),
    Column("kind", String, nullable=False),
    Column("refers_to", String),  # event_id that a void or a replacement means, of the same source
    Column("body_mac", String, nullable=False),
    UniqueConstraint("source", "event_id"),
    CheckConstraint("kind IN ('usage', 'void', 'replace')"),
    CheckConstraint("input_tokens >= 0 AND output_tokens >= 0 AND quantity >= 0 AND duration_us >= 0"),
    CheckConstraint("cached_tokens >= 0 AND cached_tokens <= input_tokens"),
    Index("usage_in_order", "contract_id", "occurred_us", "source", "event_id"),
    Index("usage_of_customer", "customer_id", "recorded_us"),
    Index(
        "usage_corrected",  # few events correct another, so the others stay out of the index
        "customer_id",
        "refers_to",
        "source",
        "recorded_us",  # without it SQLite prefers `usage_of_customer` and reads all of a customer's events
        sqlite_where=text("refers_to IS NOT NULL"),
        postgresql_where=text("refers_to IS NOT NULL"),
    ),
)

event_conflict = Table(
    "event_conflict",  # the same id came with another body: refused, and kept as a trace
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("source", String, nullable=False),
    Column("event_id", String, nullable=False),
    Column("body_mac", String, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("conflicts_of", "source", "event_id"),
)

event_quarantine = Table(
    "event_quarantine",  # imported events that cannot be counted: an operator admits or rejects them
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("source", String, nullable=False),
    Column("event_id", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("why", String, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("decided_us", BigInteger),
    Column("decision", String),
    Column("reason", String),
    UniqueConstraint("source", "event_id"),
    CheckConstraint("decision IN ('admitted', 'rejected')"),
)

budget = Table(
    "budget",
    metadata,
    Column("id", String, primary_key=True),
    Column("scope", String, nullable=False),
    Column("scope_id", String, nullable=False),  # key or customer; "" for the whole project
    Column("span", String, nullable=False),
    Column("unit", String, nullable=False),
    Column("currency", String, nullable=False),  # "" for tokens
    Column("most", BigInteger, nullable=False),  # nano-units of the currency, or tokens
    Column("hard", Boolean, nullable=False),
    Column("alerts", Text, nullable=False),  # JSON list of percent
    Column("created_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
    CheckConstraint("scope IN ('key', 'customer', 'project')"),
    CheckConstraint("span IN ('ever', 'day', 'month')"),
    CheckConstraint("unit IN ('money', 'tokens')"),
    CheckConstraint("most >= 0"),
    Index("budget_of", "scope", "scope_id"),
)

budget_window = Table(
    "budget_window",  # what is spent and held of a budget in one of its days or months
    metadata,
    Column("budget_id", String, ForeignKey("budget.id"), primary_key=True),
    Column("start_us", BigInteger, primary_key=True),
    Column("spent", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    CheckConstraint("spent >= 0 AND held >= 0"),
)

hold = Table(
    "hold",
    metadata,
    Column("request_id", String, primary_key=True),
    Column("source", String, nullable=False),
    Column("event_id", String, nullable=False),
    Column("customer_id", String, ForeignKey("customer.id"), nullable=False),
    Column("key_id", String, ForeignKey("api_key.id"), nullable=False),
    Column("contract_id", String, ForeignKey("contract.id"), nullable=False),
    Column("plan_version_id", String, ForeignKey("plan_version.id"), nullable=False),
    Column("body_mac", String, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),  # the most that may be written
    Column("amount", BigInteger, nullable=False),  # nano-units, rounded up
    Column("created_us", BigInteger, nullable=False),
    Column("lease_us", BigInteger, nullable=False),
    Column("state", String, nullable=False),
    Column("why", String),  # it was released
    CheckConstraint("state IN ('held', 'settled', 'released', 'expired')"),
    Index("hold_by_lease", "state", "lease_us"),
    Index(  # a request is under way or done once; after a failure it may come again
        "hold_live",
        "source",
        "event_id",
        unique=True,
        sqlite_where=text("state IN ('held', 'settled')"),
        postgresql_where=text("state IN ('held', 'settled')"),
    ),
)

hold_budget = Table(
    "hold_budget",
    metadata,
    Column("request_id", String, ForeignKey("hold.request_id"), primary_key=True),
    Column("budget_id", String, ForeignKey("budget.id"), primary_key=True),
    Column("start_us", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
)

unreconciled = Table(
    "unreconciled",  # a hold whose lease ran out before anybody said what was used: revenue at risk
    metadata,
    Column("request_id", String, ForeignKey("hold.request_id"), primary_key=True),
    Column("source", String, nullable=False),
    Column("event_id", String, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("why", String, nullable=False),
    Index("unreconciled_of_event", "source", "event_id"),
)

request_time = Table(
    "request_time",  # where a request's time went; nothing of what it said
    metadata,
    Column("request_id", String, primary_key=True),
    Column("at_us", BigInteger, nullable=False, index=True),
    Column("status", Integer, nullable=False),
    Column("release_id", String),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("queue_us", BigInteger, nullable=False),
    Column("prefill_us", BigInteger, nullable=False),
    Column("decode_us", BigInteger, nullable=False),
    Column("database_us", BigInteger, nullable=False),
    Column("client_us", BigInteger, nullable=False),
)

serving = Table(
    "serving",  # which release is served from when on: the newest row counts
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("release_id", String, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("why", String, nullable=False),
)
