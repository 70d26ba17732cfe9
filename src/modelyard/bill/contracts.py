"""Which plan a customer has, since when: a contract and the changes that were recorded to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, or_, select

from ..errors import ProjectError
from ..records import audit
from ..records.tables.business import contract, contract_change
from . import customers
from .plans import PlanVersion, current, replacements, resolve, versions

PAYMENT_DAYS = 14
"""Days until an invoice is due, unless a contract says otherwise."""


@dataclass(frozen=True, slots=True)
class Term:
    """A stretch of a contract under one version of a plan: [start, end) in microseconds; None: open."""

    start_us: int
    end_us: int | None
    version: PlanVersion


@dataclass(frozen=True, slots=True)
class ContractVersion:
    """All that rating needs to know of a contract, as it was known at one moment."""

    id: str
    customer: str
    currency: str
    timezone: str
    start_us: int
    end_us: int | None
    terms: tuple[Term, ...]
    """In order, without gaps, from start to end; each with the version that is charged by."""
    versions: Mapping[str, PlanVersion]
    """A version that an event names, to the version that it is charged by."""

    def term_at(self, at_us: int) -> Term | None:
        """The term in force at a moment; None before the start and from the end on."""
        for term in reversed(self.terms):
            if term.start_us <= at_us:
                return term if term.end_us is None or at_us < term.end_us else None
        return None


def start(connection: Connection, customer: str, plan: str, at_us: int) -> str:
    """Give a customer a plan from now on, by the plan's current version; returns the contract's id.

    An open contract with that plan is kept as it is; one with another plan is changed at once. Raises
    ProjectError for an unknown customer or plan, or a plan in a currency that the customer does not pay in.
    """
    who = customers.get(connection, customer)
    version = current(connection, plan)
    if version.currency != who.currency:
        raise ProjectError(
            f"the plan {plan!r} is in {version.currency}, the customer {customer!r} pays in {who.currency}",
            try_="a plan in the customer's currency",
        )
    found = open_contract(connection, customer, at_us)
    if found is not None:
        term = load(connection, found, at_us).term_at(at_us)
        if term is None or term.version.plan != plan:
            change(connection, found, version.id, at_us)
        return found
    many = connection.execute(select(func.count()).where(contract.c.customer_id == customer)).scalar_one()
    id = f"{customer}/{many + 1}"  # an id of a customer holds no slash
    connection.execute(
        insert(contract).values(
            id=id,
            customer_id=customer,
            kind="subscription",
            plan_version_id=version.id,
            start_us=at_us,
            timezone=who.timezone,
            anchor_day=1,
            payment_days=PAYMENT_DAYS,
        )
    )
    audit.append(connection, "contract.started", id, {"plan_version": version.id, "start_us": at_us})
    return id


def change(connection: Connection, id: str, version: str, at_us: int) -> None:
    """Put a contract under another version from now on."""
    connection.execute(
        insert(contract_change).values(
            contract_id=id, effective_us=at_us, plan_version_id=version, recorded_us=at_us
        )
    )
    audit.append(connection, "contract.changed", id, {"plan_version": version, "effective_us": at_us})


def open_contract(connection: Connection, customer: str, at_us: int) -> str | None:
    """The id of the contract that a customer's use counts to at a moment; None when there is none."""
    query = (
        select(contract.c.id)
        .where(contract.c.customer_id == customer, contract.c.start_us <= at_us)
        .where(or_(contract.c.end_us.is_(None), contract.c.end_us > at_us))
        .order_by(contract.c.start_us.desc(), contract.c.id.desc())
        .limit(1)
    )
    id: str | None = connection.execute(query).scalar()
    return id


def last_versions(connection: Connection, at_us: int) -> dict[str, str]:
    """Every contract that is open at a moment, with the version that it was put under last."""
    is_open = or_(contract.c.end_us.is_(None), contract.c.end_us > at_us)
    first = select(contract.c.id, contract.c.plan_version_id).where(is_open).order_by(contract.c.id)
    found = {row.id: row.plan_version_id for row in connection.execute(first)}
    changes = (
        select(contract_change.c.contract_id, contract_change.c.plan_version_id)
        .join(contract, contract.c.id == contract_change.c.contract_id)
        .where(is_open)
        .order_by(contract_change.c.seq)
    )
    return found | {row.contract_id: row.plan_version_id for row in connection.execute(changes)}


def of_customer(connection: Connection, customer: str, known_us: int) -> list[ContractVersion]:
    """All contracts of a customer, the ended ones too, by their start; each as it was known then."""
    query = (
        select(contract.c.id)
        .where(contract.c.customer_id == customer)
        .order_by(contract.c.start_us, contract.c.id)
    )
    return [load(connection, id, known_us) for id in connection.execute(query).scalars().all()]


def load(connection: Connection, id: str, known_us: int) -> ContractVersion:
    """A contract as it was known at `known_us`: later changes and later re-rates are not in it.

    Raises ProjectError when there is no such contract.
    """
    row = connection.execute(select(contract).where(contract.c.id == id)).first()
    if row is None:
        raise ProjectError(f"there is no contract {id!r}")
    who = customers.get(connection, row.customer_id)
    replaced = replacements(connection, known_us)
    published = versions(connection)
    charged = {name: published[resolve(name, replaced)] for name in published}
    changes = connection.execute(
        select(contract_change.c.effective_us, contract_change.c.plan_version_id)
        .where(contract_change.c.contract_id == id, contract_change.c.recorded_us <= known_us)
        .order_by(contract_change.c.seq)
    ).all()
    cuts = [(row.start_us, row.plan_version_id)]
    for at_us, version in changes:
        # What was recorded later holds from its moment on, also when a clock had jumped back in between.
        cuts = [cut for cut in cuts if cut[0] < at_us] + [(max(at_us, row.start_us), version)]
    ends = [at_us for at_us, _ in cuts[1:]] + [row.end_us]
    terms = tuple(
        Term(at_us, end_us, charged[version])
        for (at_us, version), end_us in zip(cuts, ends, strict=True)
        if end_us is None or at_us < end_us
    )
    return ContractVersion(
        id, row.customer_id, who.currency, row.timezone, row.start_us, row.end_us, terms, charged
    )
