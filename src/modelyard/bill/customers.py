"""Who is billed. An id is chosen by the owner, such as "acme", and never changes."""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from ..errors import ProjectError
from ..records import audit
from ..records.tables.service import customer
from .money import digits

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer as the ledger holds it."""

    id: str
    legal_name: str
    currency: str
    timezone: str
    """IANA name; its months are billed in this zone."""
    country: str | None
    tax_id: str | None
    e_invoice_address: str | None
    created_us: int


def add(
    connection: Connection,
    id: str,
    currency: str,
    at_us: int,
    *,
    legal_name: str | None = None,
    timezone: str = "UTC",
    country: str | None = None,
    tax_id: str | None = None,
    e_invoice_address: str | None = None,
) -> Customer:
    """A new customer. Raises ProjectError for an id that is taken or a value that cannot be."""
    if not ID.fullmatch(id):
        raise ProjectError(
            f"{id!r} is no id of a customer", try_="up to 64 letters, digits, dots, dashes, such as acme"
        )
    if _row(connection, id) is not None:
        raise ProjectError(f"there is a customer {id!r} already", try_="`modelyard customers list`")
    digits(currency)
    _check_zone(timezone)
    if country is not None and not re.fullmatch(r"[A-Z]{2}", country):
        raise ProjectError(
            f"{country!r} is no country code", try_="two capital letters (ISO 3166), such as DE"
        )
    new = Customer(id, legal_name or id, currency, timezone, country, tax_id, e_invoice_address, at_us)
    values = {name: getattr(new, name) for name in Customer.__slots__}
    connection.execute(insert(customer).values(**values))
    audit.append(connection, "customer.added", id, {"currency": currency, "timezone": timezone})
    return new


def ensure(
    connection: Connection,
    id: str,
    currency: str,
    at_us: int,
    *,
    legal_name: str | None = None,
    timezone: str = "UTC",
) -> Customer:
    """The customer `id`, made when it is new. Raises ProjectError when it pays in another currency."""
    found = _row(connection, id)
    if found is None:
        return add(connection, id, currency, at_us, legal_name=legal_name, timezone=timezone)
    if found.currency != currency:
        raise ProjectError(
            f"the customer {id!r} pays in {found.currency}, not in {currency}",
            try_="a plan in its currency, or a customer of another id",
        )
    return found


def get(connection: Connection, id: str) -> Customer:
    """The customer `id`. Raises ProjectError when there is none."""
    found = _row(connection, id)
    if found is None:
        raise ProjectError(f"there is no customer {id!r}", try_="`modelyard customers list`")
    return found


def known(connection: Connection, id: str) -> bool:
    """Whether there is a customer `id`."""
    return _row(connection, id) is not None


def listed(connection: Connection) -> list[Customer]:
    """All customers, by id."""
    rows = connection.execute(select(customer).order_by(customer.c.id))
    return [Customer(**row) for row in rows.mappings()]


def _row(connection: Connection, id: str) -> Customer | None:
    row = connection.execute(select(customer).where(customer.c.id == id)).mappings().first()
    return Customer(**row) if row else None


def _check_zone(name: str) -> None:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ProjectError(
            f"{name!r} is no time zone that this machine knows",
            try_="an IANA name, such as UTC, Europe/Berlin or Asia/Shanghai",
        ) from None
