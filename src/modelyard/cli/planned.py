"""The project as its plan sees it: its own words, what its yard measured, what its service metered."""

from __future__ import annotations

import datetime
from collections import Counter
from typing import Any

from sqlalchemy import func, select

from ..bill.money import CURRENCIES
from ..data import Source
from ..data.glance import Glance, glance
from ..errors import ProjectError, SourceError
from ..plan.inputs import BASE, Inputs, Offer, Own, Sold
from ..plan.options import this_machine
from ..plan.settings import Has, Plan
from ..plan.standing import Standing, parameters_of, standing
from ..project import Project
from ..records.clock import now_us
from ..records.tables.service import customer, usage_event
from ..release.gates import always
from .place import Place
from .plan_calibrate import own_run

MONTH_US = 30 * 24 * 3600 * 1_000_000


def inputs_of(place: Place, today: datetime.date) -> Inputs:
    """Everything that a plan of this project reads. Raises ProjectError for a currency nobody knows."""
    project = place.project
    plan = project.plan or Plan()
    if plan.currency not in CURRENCIES:
        raise ProjectError(
            f"{plan.currency!r} is no currency of ISO 4217", where="plan.currency", try_="such as USD or CNY"
        )
    found = standing(place.yard)
    assumed = []
    size = found.value("model.parameters") or parameters_of(project.train.base)
    if size is None:
        size = BASE
        assumed.append(f"a base of {BASE / 1e6:.0f} million parameters: its name tells none")
    if project.plan is None:
        assumed.append("no block `plan` in the project file: goal, money and people are unknown")
    offers = _offers(project)
    if project.prices and project.prices.currency != plan.currency:
        offers = {}
        assumed.append(
            f"prices are in {project.prices.currency} and left out: give plan.currency and usd_rate"
        )
    seen, lacking = (None, []) if found.value("data.documents") is not None or plan.has else _glance(place)
    if seen is not None:
        assumed.append("documents and pairs: counted in the files, before anything is dropped")
    for source in lacking:
        maker = f": `{source.made_by}` makes it" if source.made_by else ""
        assumed.append(f"{source.path} is not there yet{maker}")
    price = project.machine.usd_per_hour
    return Inputs(
        plan=plan,
        standing=found,
        here=this_machine(float(price) if price is not None else None),
        today=today,
        task=project.task.kind,
        base=project.train.base,
        parameters=size,
        whole=bool(project.train.method and project.train.method.full is not None),
        kind=_kind(project),
        budget_tokens=project.train.budget.tokens,
        input_tokens=project.release.mix.input_tokens,
        output_tokens=project.release.mix.output_tokens,
        gates={name: gate.limit for name, gate in {**always({}), **project.release.gates}.items()},
        sources=tuple(source.path for source in project.data.sources),
        seen=seen,
        lacking=tuple(source.path for source in lacking),
        offers=offers,
        sold=_sold(place),
        own=_own(place, found),
        assumed=tuple(assumed),
    )


def bare(today: datetime.date) -> Inputs:
    """Outside a project: this machine, and nothing else."""
    return Inputs(
        *(Plan(), Standing(), this_machine(None), today, "extract", "", BASE),
        whole=False,
        kind="lora",
        budget_tokens=None,
        input_tokens=250,
        output_tokens=30,
    )


def here(folder: Any, today: datetime.date) -> Inputs:
    """The project's, where there is one. Raises ProjectError for one with mistakes."""
    try:
        place = Place.at(folder)
    except ProjectError:  # no project file here or above
        return bare(today)
    return inputs_of(place, today)


def _glance(place: Place) -> tuple[Has | None, list[Source]]:
    """What the sources hold, and those that are not there yet. Raises SourceError."""
    total, lacking = Glance(), []
    for source in place.project.data.sources:
        path = place.folder / source.path
        try:
            found = glance(source, path, place.project.task.hold_out)
        except OSError as error:
            raise SourceError(
                f"a file of {source.path} cannot be read: {error.strerror}",
                where=error.filename or str(path),
                try_="check its permissions",
            ) from None
        if found is None:
            lacking.append(source)
        else:
            total += found
    if len(lacking) == len(place.project.data.sources):
        return None, lacking
    documents, pairs = round(total.documents), round(total.pairs)
    return Has(documents=documents, pairs=pairs, tokens=total.tokens), lacking


def _kind(project: Project) -> str:
    """Which route the project file goes."""
    train = project.train
    if train.method is None:
        return "ground"
    if train.distil is not None:
        return "distil"
    documents = {source.path for source in project.data.sources if not source.path.endswith(".jsonl")}
    if train.mixture is not None and set(train.mixture) <= documents:
        return "continue"
    return "full" if train.method.full is not None else "lora"


def _own(place: Place, found: Standing) -> Own | None:
    ran = own_run(place, found)
    return Own(*ran) if ran else None


def _offers(project: Project) -> dict[str, Offer]:
    plans = project.prices.plans if project.prices else {}
    return {
        name: Offer(
            *(float(plan.monthly), float(plan.included_tokens)),
            *(float(plan.per_million_input), float(plan.per_million_output)),
        )
        for name, plan in plans.items()
    }


def _sold(place: Place) -> Sold | None:
    """Sums over all metered requests; corrections of a few are left in, for a plan needs no cent."""
    if not place.yard.exists:
        return None
    use = usage_event.c
    with place.yard.ledger.read() as connection:
        customers = connection.execute(select(func.count()).select_from(customer)).scalar() or 0
        rows = connection.execute(
            select(
                *(use.customer_id, func.count(), func.sum(use.input_tokens), func.sum(use.output_tokens)),
                func.min(use.occurred_us),
            )
            .where(use.kind == "usage")
            .group_by(use.customer_id)
        ).all()
    if not rows:
        return None
    tokens = Counter({row[0]: row[2] + row[3] for row in rows})
    return Sold(
        customers=customers,
        requests=sum(row[1] for row in rows),
        input_tokens=sum(row[2] for row in rows),
        output_tokens=sum(row[3] for row in rows),
        months=(now_us() - min(row[4] for row in rows)) / MONTH_US,
        largest_share=max(tokens.values()) / max(1, tokens.total()),
    )
