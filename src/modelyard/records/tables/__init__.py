"""Every table of the ledger, in one place, and the version of their shape.

Amounts of money are whole nano-units of their currency (1e-9), rates are decimal text, quantities are whole
numbers, and times that end in `_us` are microseconds since 1970 in UTC: no number here is a float but the
seconds that a step took.
"""

from . import business, line, service
from .line import audit, fingerprint, metadata, record, record_input, run, yard

SCHEMA_VERSION = 2  # 1: the line alone; 2: service and business, all of them new tables

__all__ = [
    "SCHEMA_VERSION",
    "audit",
    "business",
    "fingerprint",
    "line",
    "metadata",
    "record",
    "record_input",
    "run",
    "service",
    "yard",
]
