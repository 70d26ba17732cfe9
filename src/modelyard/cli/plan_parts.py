"""The plan of a project, part by part: what the terminal and the page both show."""

from __future__ import annotations

from collections.abc import Callable

from ..plan.backtest import Range
from ..plan.cash import LASTS, Cash, runway_months
from ..plan.routes import wanted
from ..plan.whatif import PRESUMED
from ..plan.whole import Whole
from .plan_tables import Part, Table, between, cut, reported, thing
from .table import number
from .voice import said, translate

FUTURES_SHOWN = (0, 2, 5, 8, 11, 17, 23, 35, 47, 59)  # months, from 0


def overview(found: Whole) -> str:
    """Every part, in the order in which one decides."""
    parts = [made for part in PARTS.values() if (made := part(found)) is not None]
    return "\n\n\n".join(part.text() for part in parts)


def routes(found: Whole) -> Part:
    """Every route, the best first, and why the others lose."""
    head = ["route", "on", "days", "until release", "a month", "a year", "quality", "why not"]
    rows = [
        [
            said(one.name),
            said(one.on),
            between(one.days),
            between(one.build),
            number(one.month),
            number(one.year),
            f"{one.quality.value:.3f}"
            if one.quality.value is not None
            else "●" * one.quality.expected + "○" * (3 - one.quality.expected),
            cut(said(one.lost)) or translate("the best"),
        ]
        for one in found.routes
    ]
    best = found.routes[0]
    goal = wanted(found.inputs)
    told = []
    if best.quality.value is not None and best.quality.value < goal:
        told.append(
            translate(
                "{value} is below the goal of {goal}", value=f"{best.quality.value:.3f}", goal=number(goal)
            )
        )
    told += [
        translate(
            "quality: measured on held-out questions, or expected of three ({evidence})",
            evidence=": ".join(said(part) for part in (best.quality.evidence, best.quality.source) if part),
        ),
        translate("largest risk: {risk}", risk=said(best.risk)),
    ]
    if best.answering is not None and best.answering.capacity is not None:
        capacity = best.answering.capacity
        told.append(
            translate(
                "answers on {machines} x {on}: 95% within {p95} s at {peak} a second; busy {busy}; {basis}",
                machines=capacity.machines,
                on=said(best.answering.option.name),
                p95=f"{capacity.p95_s:.2g}",
                peak=f"{found.inputs.load.peak:.2g}" if found.inputs.load else "-",
                busy=f"{capacity.busy:.0%}",
                basis=said(best.answering.basis),
            )
        )
    return Part("routes", [], [Table(head, rows)], told)


def run(found: Whole) -> Part:
    """The project's next training here: time, cost, memory by term."""
    own, here = found.inputs.own, found.inputs.here
    if own is None:
        lead = translate("nothing has been trained here yet: modelyard up")
        return Part("run", [lead], [], [])
    took = own.took
    price = here.usd_per_hour[1] / 3600
    cost = Range(*(one * price for one in (took.seconds.value, took.seconds.low, took.seconds.high)))
    rows = [
        [translate("seconds"), between(took.seconds), said(took.basis)],
        [translate("cost, USD"), between(cost), said(here.priced)],
    ]
    memory = [[translate(name), f"{gib:.2f}"] for name, gib in took.memory_gib.items() if gib >= 0.005]
    memory.append([translate("all"), f"{sum(took.memory_gib.values()):.2f}"])
    memory.append([translate("the device has"), f"{here.device.memory_gib:g}"])
    tables = [Table(["of the run", "80% interval", "from"], rows), Table(["memory", "GiB"], memory)]
    told = [translate("one machine differs from hour to hour: plan --calibrate measures it again")]
    return Part("run", [], tables, told)


def team(found: Whole) -> Part:
    """Gaps and how to close them, who answers for what, goals, what is late."""
    one = found.team
    lead: list[str] = []
    tables: list[Table] = []
    if one.coverage is None:
        lead.append(translate("nobody told the team: plan.team"))
    else:
        lead.append(
            translate(
                "{stage}: coverage {coverage} of 3, bus factor {bus}; {hours} hours a week, {wanted} sold",
                stage=translate(one.stage),
                coverage=one.coverage,
                bus=one.bus_factor,
                hours=number(one.hours_per_week),
                wanted=number(one.wanted_hours_per_week),
            )
        )
    closing = dict(one.closing)
    if one.gaps:
        rows = []
        for gap in one.gaps:
            way = closing.get(gap.skill)
            rows.append(
                [
                    translate(gap.skill),
                    str(gap.best),
                    said(gap.why),
                    translate(way.how) + (f": {way.who}" if way.who else "") if way else "-",
                    number(way.usd) if way else "-",
                    number(way.days) if way else "-",
                ]
            )
        tables.append(Table(["skill", "best level", "short of", "close it by", "USD", "days"], rows))
    if found.inputs.plan.team:
        tables.append(
            Table(
                ["what", "who answers", "deputy", "why"],
                [[thing(d.what), d.who or "-", d.deputy or "-", said(d.why)] for d in one.duties],
            )
        )
    if one.goals:
        tables.append(
            Table(
                ["goal", "target", "now", "date", "owner", "state"],
                [
                    [g.metric, number(g.target), number(g.now), str(g.day), g.owner, translate(g.state)]
                    for g in one.goals
                ],
            )
        )
    told = [
        *(
            translate(
                "principle {text}: gate {gate} {state}",
                text=text,
                gate=gate,
                state=translate("holds it" if bound else "does not exist"),
            )
            for text, gate, bound in one.principles
        ),
        *(
            translate("late since {due}: {what} ({who})", due=item.due, what=item.what, who=item.who)
            for _, item in one.late
        ),
        *(said(line) for line in one.warnings),
    ]
    return Part("team", lead, tables, told)


def business(found: Whole) -> Part:
    """The cash path, prices against their floors, what matters most."""
    cash, currency = found.cash, found.inputs.plan.currency
    if cash is None:
        return Part("business", [translate("nobody told money in and out: plan.business")], [], [])
    months = [at for at in FUTURES_SHOWN if at < cash.months]
    path = Table(
        ["month", "cash", "revenue", "spent", "dry by then"],
        [
            [
                str(at + 1),
                between(cash.cash[at]),
                between(cash.revenue[at]),
                between(cash.spent[at]),
                f"{cash.dry[at]:.0%}",
            ]
            for at in months
        ],
    )
    prices = Table(
        ["sold", "unit", "price", "cost", "floor", "margin", "break-even"],
        [
            [
                said(one.name),
                translate(one.unit),
                number(one.price),
                between(one.cost),
                number(one.floor),
                f"{one.margin:.0%}" if one.margin is not None else "-",
                number(one.break_even),
            ]
            for one in cash.prices
        ],
    )
    moved = Table(
        ["what matters most", "cash at the end when low", "when high"],
        [[said(name), number(low), number(high)] for name, low, high in cash.movers],
    )
    return Part("business", [], [path, prices, moved], _money(cash, currency))


def _money(cash: Cash, currency: str) -> list[str]:
    told = [
        translate("in {currency}; ranges hold 80% of {count} futures", currency=currency, count="2,000"),
        translate("runs dry with one in ten within {months} months", months=runway_months(cash))
        if cash.dry[-1] > 0.1
        else translate("does not run dry within {months} months, with nine in ten", months=cash.months),
        translate("carries itself from month {month}", month=cash.break_even_month)
        if cash.break_even_month
        else translate("does not carry itself within {months} months", months=cash.months),
    ]
    told += [
        translate(
            "a customer of {plan} leaves {worth} in {months} months: more is lost on winning one",
            plan=one.name,
            worth=between(one.worth),
            months=LASTS,
        )
        for one in cash.prices
        if one.worth is not None
    ]
    return told


def position(found: Whole) -> Part:
    """Against answers that are bought."""
    one = found.position
    currency = found.inputs.plan.currency
    rows = [
        [
            translate("yours"),
            number(one.cost_per_1k),
            said(one.cost_source),
            number(one.quality, "share"),
            number(one.latency_p95_s),
        ],
        *([other.name, number(other.per_1k), other.date, "-", "-"] for other in one.alternatives),
    ]
    head = ["answers of", f"{currency} / 1k", "as of", "quality", "p95 s"]
    told = [
        *(translate("gives: {what}", what=said(one)) for one in one.guarantees),
        *(translate("wins {who}", who=said(who)) for who in one.wins),
        *(translate("loses {who}", who=said(who)) for who in one.loses),
        *(f"{said(what)} ({said(source)})" for what, source in one.advantages),
    ]
    return Part("position", [], [Table(head, rows)], told)


def cases(found: Whole) -> Part:
    """Published runs and companies that are most like this project, and what happened to them."""
    runs = [
        [
            one.case.name,
            one.case.organisation,
            number(one.case.active),
            number(one.case.tokens),
            f"{number(one.case.devices)} x {one.case.hardware}",
            number(one.case.gpu_hours),
            number(one.utilisation, "share"),
        ]
        for one in found.runs
    ]
    head = ["nearest published run", "who", "parameters", "tokens", "on", "GPU hours", "of the peak"]
    tables = [Table(head, runs)]
    sold = [
        [
            company,
            translate(one.metric),
            reported(one),
            one.date,
            translate(one.basis),
            translate(one.confidence),
        ]
        for company, rows in found.companies[:3]
        for one in rows[:4]
    ]
    if sold:
        tables.append(Table(["sells the same", "what", "value", "as of", "basis", "confidence"], sold))
    told = [] if sold else [translate("no revenue is planned, so no company is near")]
    return Part("cases", [], tables, [*told, translate("all of a company: modelyard show cases NAME")])


def lessons(found: Whole) -> Part:
    """Rules of published companies, read here."""
    state = {True: "kept", False: "broken", None: "unknown"}
    rows = [
        [
            translate(state[one.kept]),
            said(one.name),
            translate(one.about),
            cut(said(one.read)),
            ", ".join(dict.fromkeys(case.company for case in one.cases)) or "-",
        ]
        for one in found.lessons
    ]
    return Part("lessons", [], [Table(["state", "lesson", "about", "here", "learnt by"], rows)], [])


def outlook(found: Whole) -> Part:
    """What each future changes, and what would show it early."""
    rows = []
    for one in found.outlook:
        changes = [*one.changes, *(f"lesson broken: {name}" for name in one.broken)]
        rows.append(
            [
                said(one.name),
                cut("; ".join(said(change) for change in changes)) or translate("nothing changes"),
                cut(said(one.signs[0]) if one.signs else "-", 60),
            ]
        )
    share = found.training_flop / PRESUMED
    told = [
        translate(
            "{flop} operations of training in all: {share} of what the EU presumes general-purpose from",
            flop=f"{found.training_flop:.2g}",
            share=f"{share:.1g}",
        )
    ]
    return Part("outlook", [], [Table(["future", "what changes", "an early sign"], rows)], told)


def forecasts(found: Whole) -> Part | None:
    """The register, scored."""
    register = found.forecasts
    if not register.all:
        return None
    rows = [
        [one.what, str(one.by), one.told, number(one.outcome), translate(one.state), number(one.score)]
        for one in register.all
    ]
    told = []
    if register.inside is not None:
        told.append(
            translate("{share} of the ranges held what came; 80% is right", share=f"{register.inside:.0%}")
        )
    if register.brier is not None:
        told.append(translate("Brier score {score}; a coin gets 0.25", score=f"{register.brier:.3f}"))
    head = ["forecast", "by", "told", "came", "state", "score"]
    return Part("forecasts", [], [Table(head, rows)], told)


PARTS: dict[str, Callable[[Whole], Part | None]] = {
    "routes": routes,
    "run": run,
    "team": team,
    "business": business,
    "position": position,
    "cases": cases,
    "lessons": lessons,
    "outlook": outlook,
    "forecasts": forecasts,
}


def assumed(found: Whole) -> str:
    """What was taken and not known."""
    return "\n".join([translate("assumed"), *(f"- {said(line)}" for line in found.assumed)])
