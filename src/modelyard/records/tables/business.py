"""The tables of the business: prices, plans, contracts, charges, invoices, payments, credit, work."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from .line import metadata

meter = Table(
    "meter",
    metadata,
    Column("code", String, primary_key=True),
    Column("unit", String, nullable=False),
    Column("aggregation", String, nullable=False),
    Column("quantity", String, nullable=False),  # the field of an event that is aggregated
    CheckConstraint("aggregation IN ('sum', 'count', 'max', 'last', 'unique')"),
)

price_version = Table(
    "price_version",
    metadata,
    Column("id", String, primary_key=True),
    Column("quantity", String),  # input_tokens, cached_tokens, output_tokens, quantity; null for a flat price
    Column("kind", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("rate", String, nullable=False),  # decimal text
    Column("per", BigInteger, nullable=False),
    Column("tiers", Text),  # JSON
    Column("minimum", String),
    Column("maximum", String),
    Column("term", String, nullable=False),
    Column("digest", String, nullable=False, unique=True),
    CheckConstraint("kind IN ('flat', 'unit', 'graduated', 'volume', 'package')"),
    CheckConstraint("term IN ('advance', 'arrears')"),
    CheckConstraint("per > 0"),
)

plan_version = Table(
    "plan_version",
    metadata,
    Column("id", String, primary_key=True),
    Column("plan", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("included_tokens", BigInteger, nullable=False),
    Column("published_us", BigInteger, nullable=False),
    Column("digest", String, nullable=False),
    Column("seq", Integer, nullable=False),  # 1, 2, … within the plan; the newest is charged by
    UniqueConstraint("plan", "seq"),
)

plan_item = Table(
    "plan_item",
    metadata,
    Column("plan_version_id", String, ForeignKey("plan_version.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("price_version_id", String, ForeignKey("price_version.id"), nullable=False),
    Column("rollover_periods", Integer, nullable=False),
    Column("overage", String, nullable=False),
    CheckConstraint("overage IN ('allow', 'block')"),
)

rerate = Table(
    "rerate",  # a version that was wrong, and the one that its events are charged by instead
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("wrong_id", String, ForeignKey("plan_version.id"), nullable=False, unique=True),
    Column("right_id", String, ForeignKey("plan_version.id"), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("reason", String, nullable=False),
)

contract = Table(
    "contract",
    metadata,
    Column("id", String, primary_key=True),
    Column("customer_id", String, ForeignKey("customer.id"), nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("plan_version_id", String, ForeignKey("plan_version.id"), nullable=False),
    Column("start_us", BigInteger, nullable=False),
    Column("end_us", BigInteger),
    Column("timezone", String, nullable=False),
    Column("anchor_day", Integer, nullable=False),
    Column("payment_days", Integer, nullable=False),
    Column("signed_digest", String),
    CheckConstraint("kind IN ('service', 'sale', 'annotation', 'subscription')"),
    CheckConstraint("anchor_day BETWEEN 1 AND 31"),
)

contract_change = Table(
    "contract_change",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("contract_id", String, ForeignKey("contract.id"), nullable=False, index=True),
    Column("effective_us", BigInteger, nullable=False),
    Column("plan_version_id", String, ForeignKey("plan_version.id"), nullable=False),
    Column("recorded_us", BigInteger, nullable=False),
)

charge = Table(
    "charge",
    metadata,
    Column("id", String, primary_key=True),
    Column("contract_id", String, ForeignKey("contract.id"), nullable=False),
    Column("item", String, nullable=False),
    Column("period_start_us", BigInteger, nullable=False),
    Column("period_end_us", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("amount", String, nullable=False),  # exact, as a fraction "3/7" or a decimal
    Column("high_water_seq", BigInteger, nullable=False),
    Column("rated_by", String, nullable=False),
    UniqueConstraint("contract_id", "item", "period_start_us", "revision"),
    CheckConstraint(
        "kind IN ('flat', 'usage', 'milestone', 'licence', 'annotation', 'credit_purchase', 'adjustment')"
    ),
)

counter = Table(
    "counter",  # numbers of invoices: unique, ascending, without gaps in a series
    metadata,
    Column("series", String, primary_key=True),
    Column("next", BigInteger, nullable=False),
)

invoice = Table(
    "invoice",
    metadata,
    Column("id", String, primary_key=True),
    Column("series", String, nullable=False),
    Column("number", BigInteger),
    Column("customer_id", String, ForeignKey("customer.id"), nullable=False, index=True),
    Column("type", Integer, nullable=False),  # UNTDID 1001: 380 invoice, 381 credit note
    Column("refers_to", String, ForeignKey("invoice.id")),
    Column("state", String, nullable=False),
    Column("payment_state", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("issued_us", BigInteger),
    Column("due_us", BigInteger),
    Column("cutoff_us", BigInteger, nullable=False),
    Column("snapshot", Text, nullable=False),  # JSON: supplier, customer, prices and tax as they were
    Column("net", BigInteger, nullable=False),  # minor units, as are tax and total
    Column("tax", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("sha256", String),
    Column("previous_sha256", String),
    UniqueConstraint("series", "number"),
    CheckConstraint("type IN (380, 381)"),
    CheckConstraint("state IN ('draft', 'grace', 'final', 'void')"),
    CheckConstraint("payment_state IN ('open', 'part', 'paid', 'refunded')"),
)

invoice_line = Table(
    "invoice_line",
    metadata,
    Column("invoice_id", String, ForeignKey("invoice.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("charge_id", String, ForeignKey("charge.id")),
    Column("text", String, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("unit_price", String, nullable=False),
    Column("net", BigInteger, nullable=False),
    Column("tax_category", String, nullable=False),
    Column("period_start_us", BigInteger, nullable=False),
    Column("period_end_us", BigInteger, nullable=False),
    Column("corrects_invoice", String),
    Column("corrects_position", Integer),
)

payment = Table(
    "payment",
    metadata,
    Column("id", String, primary_key=True),
    Column("customer_id", String, ForeignKey("customer.id"), nullable=False),
    Column("amount", BigInteger, nullable=False),  # minor units
    Column("currency", String, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("reference", String, nullable=False, unique=True),
)

allocation = Table(
    "allocation",
    metadata,
    Column("id", String, primary_key=True),
    Column("payment_id", String, ForeignKey("payment.id")),
    Column("credit_note_id", String, ForeignKey("invoice.id")),
    Column("invoice_id", String, ForeignKey("invoice.id"), nullable=False),
    Column("amount", BigInteger, nullable=False),  # minor units
    CheckConstraint("(payment_id IS NULL) <> (credit_note_id IS NULL)"),
)

credit_grant = Table(
    "credit_grant",  # GRANT is a word of SQL
    metadata,
    Column("id", String, primary_key=True),
    Column("customer_id", String, ForeignKey("customer.id"), nullable=False),
    Column("amount", BigInteger, nullable=False),  # nano-units
    Column("currency", String, nullable=False),
    Column("category", String, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("effective_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("created_us", BigInteger, nullable=False),
    Column("meters", Text, nullable=False),  # JSON list; empty: all
    CheckConstraint("category IN ('paid', 'promo')"),
    CheckConstraint("amount >= 0"),
)

ledger_tx = Table(
    "ledger_tx",
    metadata,
    Column("id", String, primary_key=True),
    Column("operation", String, nullable=False, unique=True),
    Column("at_us", BigInteger, nullable=False),
    Column("text", String, nullable=False),
)

ledger_entry = Table(
    "ledger_entry",  # the entries of a transaction sum to nought in each currency
    metadata,
    Column("tx_id", String, ForeignKey("ledger_tx.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("account", String, nullable=False),
    Column("customer_id", String, ForeignKey("customer.id")),
    Column("currency", String, nullable=False),
    Column("amount", BigInteger, nullable=False),  # nano-units
    Index("entries_of_account", "account", "customer_id"),
)

tax_rule = Table(
    "tax_rule",
    metadata,
    Column("jurisdiction", String, primary_key=True),
    Column("category", String, primary_key=True),
    Column("valid_from_us", BigInteger, primary_key=True),
    Column("rate", String, nullable=False),
    Column("reason", String, nullable=False),
)

work_item = Table(
    "work_item",
    metadata,
    Column("id", String, primary_key=True),
    Column("dataset", String, nullable=False),
    Column("item_digest", String, nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("labelers", Integer, nullable=False),
    Column("state", String, nullable=False),
    UniqueConstraint("dataset", "item_digest"),
)

label = Table(
    "label",
    metadata,
    Column("id", String, primary_key=True),
    Column("work_item_id", String, ForeignKey("work_item.id"), nullable=False, index=True),
    Column("annotator", String, nullable=False),  # a pseudonym
    Column("value", Text, nullable=False),
    Column("duration_us", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

acceptance = Table(
    "acceptance",
    metadata,
    Column("id", String, primary_key=True),
    Column("contract_id", String, ForeignKey("contract.id")),
    Column("batch", String, nullable=False),
    Column("sample_size", Integer, nullable=False),
    Column("defects", Integer, nullable=False),
    Column("agreement", String),  # decimal text
    Column("decision", String, nullable=False),
    Column("by", String, nullable=False),  # a pseudonym
    Column("at_us", BigInteger, nullable=False),
    CheckConstraint("decision IN ('accepted', 'rejected')"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("target", String, nullable=False),
    Column("operation", String, nullable=False, unique=True),
    Column("payload", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    CheckConstraint("state IN ('pending', 'sent', 'acked', 'rejected', 'correction')"),
)
