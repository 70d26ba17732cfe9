"""The tables of the line: records, runs, the audit chain, fingerprints of sources."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

yard = Table(
    "yard",
    metadata,
    Column("schema_version", Integer, primary_key=True),
    Column("made_by", String, nullable=False),
)

record = Table(
    "record",
    metadata,
    Column("id", String, primary_key=True),
    Column("step", String, nullable=False, index=True),
    Column("key", String, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("digest", String, nullable=False, index=True),
    Column("body", Text, nullable=False),  # JSON: settings, facts, choices, files, environment
    Column("started", String, nullable=False),
    Column("ended", String, nullable=False, index=True),
    Column("seconds", Float, nullable=False),
    UniqueConstraint("key", "attempt"),
)

record_input = Table(
    "record_input",
    metadata,
    Column("record_id", String, ForeignKey("record.id"), primary_key=True),
    Column("role", String, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("input_id", String, ForeignKey("record.id"), nullable=False, index=True),
)

run = Table(
    "run",
    metadata,
    Column("id", String, primary_key=True),
    Column("verb", String, nullable=False),
    Column("step", String, nullable=False),
    Column("key", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("host", String, nullable=False),
    Column("boot_id", String, nullable=False),
    Column("started", String, nullable=False),
    Column("heartbeat", String, nullable=False),
    Column("ended", String),
    Column("state", String, nullable=False),  # running, done, failed, killed
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("at", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("previous", String, nullable=False),
    Column("hash", String, nullable=False, unique=True),
)

fingerprint = Table(
    "fingerprint",
    metadata,
    Column("path", String, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("mtime_ns", Integer, nullable=False),
    Column("inode", Integer, nullable=False),
    Column("sha256", String, nullable=False),
)
