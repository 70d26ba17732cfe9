"""The release search: screen every candidate, ask the cheaper half, measure few in full, score one winner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .. import engines, machine
from ..errors import MissingPackage
from ..optimize.settings import UNQUANTISED, ConvertSettings
from ..project import Project
from ..records.clock import today
from ..records.shapes import Record
from ..records.yard import Yard
from ..release import (
    Price,
    Raced,
    Verdict,
    cheaper,
    gates_for,
    holds,
    is_enough,
    is_settled,
    pick,
    probed,
    queue,
    raced,
    reference,
    verdict,
)
from ..release.settings import CHOOSE, ChooseSettings, Gate
from ..verify.settings import (
    LOOKUP,
    PROBE,
    RACE,
    Fidelity,
    LookupSettings,
    ProbeSettings,
    RaceSettings,
)
from . import looks
from .files import BASE_ITEMS, File, Wanted, files, unmade, wanted
from .measuring import FEWEST_ITEMS, ITEMS, SCORES, Material, Measure, Screened
from .node import Line, Node
from .steps import probes

FINALISTS = 2  # that keep every gate, so that a race decides
FULLS = 4  # measured in full at most, besides the unquantised file
ASKED_AT_ONCE = FULLS  # fewer cannot settle the queue
# Of a budget in minutes: what screening may take, and what measuring may take with it. The rest is for
# the race and the report.
SCREENING, MEASURING = 0.5, 0.75
FEWEST_FILES = 2
SERVING = ("openvino", "llamacpp", "onnx")  # tried unless the project names others


def search(project: Project, material: Material, yard: Yard) -> Line[Record]:
    """Propose conversions and measurements, each from the verdicts so far; returns the Release.

    Every file is screened on every engine that reads it: is it the model, does the engine run it right, how
    long does an answer take. The unquantised file that losses are counted from answers all questions, the
    cheaper half some of them. Then one after the other is measured in full, the cheapest likely one first,
    until two hold, one of them surely on `report`, too; what holds races. The one winner, that file and the
    untuned base are scored on `report`.
    `release.choose` has the last word: it refuses when no candidate holds.
    """
    gates = gates_for(project.release.gates, has_pairs=material.has_pairs, today=today())
    limits = [gate.limit for gate in gates.values() if gate.kind == "max_loss"]
    measure = Measure(project, material, min(limits, default=None))
    budget = _Budget(project.release.search.minutes)
    price = price_of(project)
    screened, left_out = yield from _screened(measure, budget)
    screens = [record for _, record in screened.values()]
    found = [verdict(record, price) for record in screens]
    able = cheaper(found, gates)
    origin = reference(found) if material.has_pairs else None
    others = [v for v in able if origin is None or v.what != origin.what]
    items = measure.items("full", [*others[:FULLS], *([origin] if origin else [])])
    base: tuple[Record, ...] = ()
    against: tuple[Record, ...] = ()
    if able and "gain.task" in gates and material.tuned:
        base = yield from _base(measure, origin or able[0], "full", items)
    if able and origin:
        against = yield (measure.again(screened, origin, "full", items, base=base, is_reference=True),)
    partials: list[Record] = []
    if material.has_pairs:
        partials = yield from _asked(measure, screened, others, gates, against)
    budget.spend([*base, *against, *partials])
    seen = partials if material.has_pairs else screens
    waiting = queue([verdict(record, price) for record in seen], gates)[:FULLS]
    fulls: list[Record] = []
    behaved = yield from _probed(measure, against)
    for v in waiting:
        found_so_far = [verdict(record, price, probes=probed(behaved)) for record in fulls]
        if is_enough(found_so_far, gates, FINALISTS):
            break
        if fulls and budget.is_spent(MEASURING):
            break
        made = yield (measure.again(screened, v, "full", items, base=base, against=against),)
        budget.spend(made)
        fulls += made
        behaved += yield from _probed(measure, made)

    measured = (*against, *fulls)
    race = yield from _race(measure, measured, probed(behaved), gates)
    times = raced(race[0]) if race else {}
    winner = pick([verdict(record, price, times, probed(behaved)) for record in measured], gates).winner
    looked_up = yield from _looked_up(measure, winner)
    reports: tuple[Record, ...] = ()
    earlier = 0
    if winner and material.has_pairs:
        mine = looks.look(material.corpus, screened[winner.what][0].candidate, winner.engine)
        earlier = looks.earlier(yard, mine)
        gains = "gain.task" in gates
        reports = yield from _on_report(measure, screened, winner, origin, mine, gain_is_gated=gains)
    choose = ChooseSettings(
        project=project.name,
        gates=gates,
        task=project.task.model_dump(mode="json"),
        ground=project.ground.model_dump(mode="json") if project.ground else None,
        usd_per_hour=price.usd_per_hour,
        price_is_assumed=price.assumed,
        remote_usd_per_hour=price.remote_usd_per_hour,
        earlier_looks=earlier,
        left_out=left_out,
    )
    inputs = {
        "verdicts": (*screens, *partials, *measured),
        "race": race,
        "lookup": looked_up,
        "probes": tuple(behaved),
        "report": reports,
        "candidates": tuple(
            {file.candidate.digest: file.candidate for file, _ in screened.values()}.values()
        ),
        "corpus": (material.corpus,),
        "index": (material.index,) if material.index else (),
    }
    excused = {
        name: gate.excuse.model_dump(mode="json") for name, gate in gates.items() if gate.excuse is not None
    }
    (release,) = yield (Node(CHOOSE, choose, inputs, audited={"excused": excused} if excused else None),)
    return release


def usable_engines(project: Project) -> list[str]:
    """The engines to measure on. Raises MissingPackage for a named one that is not installed, or for none."""
    lacking = {name: engines.missing(name) for name in project.release.engines or SERVING}
    absent = [why for why in lacking.values() if why]
    if absent and (project.release.engines or len(absent) == len(lacking)):
        raise absent[0]
    remote = ("remote",) if project.release.remote else ()
    return [*(name for name, why in lacking.items() if not why), *remote]


def skipped(project: Project) -> list[MissingPackage]:
    """What the search does without, because a package is not installed: engines, and converters to files."""
    told = project.release  # what it names and lacks is an error
    absent = [] if told.engines else [engines.missing(name) for name in SERVING]
    converters = unmade(usable_engines(project)) if told.search.files is None else []
    return [*(why for why in absent if why), *converters]


def price_of(project: Project) -> Price:
    """Of an hour of this machine; assumed where the project gives none."""
    given, remote = project.machine.usd_per_hour, project.release.remote
    theirs = remote.usd_per_hour if remote else None
    return Price(
        float(given) if given is not None else machine.assumed_usd_per_hour(),
        given is None,
        None if theirs is None else float(theirs),
    )


@dataclass(slots=True)
class _Budget:
    """Minutes that a search may take, by what its records took: a search repeated decides alike."""

    minutes: float | None
    spent_s: float = 0.0

    def spend(self, records: Sequence[Record]) -> None:
        self.spent_s += sum(record.seconds for record in records)

    def is_spent(self, share: float) -> bool:
        """Whether this share of it is gone."""
        return self.minutes is not None and self.spent_s >= share * self.minutes * 60


def _screened(measure: Measure, budget: _Budget) -> Line[tuple[Screened, tuple[str, ...]]]:
    """Every file on every engine that reads it, and the names of those that the budget left out.

    Two files are screened however short it is: the unquantised one, and one to choose.
    """
    project, material = measure.project, measure.material
    usable = usable_engines(project)
    smaller = [(one.model, one.chain) for one in material.smaller]
    every = wanted(project, usable, material.model, smaller)
    batches = [every] if budget.minutes is None else [[one] for one in every]
    screened: dict[tuple[str, str, int], tuple[File, Record]] = {}
    left_out: list[str] = []
    for at, batch in enumerate(batches):
        if at >= FEWEST_FILES and budget.is_spent(SCREENING):
            left_out += [one.convert.label for one in batch]
            continue
        made = yield from files(batch, material.model, material.corpus)
        asks = [(file, engine) for file in made for engine in usable if engines.reads(engine, file.kind)]
        screens = yield tuple(measure(file, engine, "screen", ITEMS["screen"]) for file, engine in asks)
        for (file, _), record in zip(asks, screens, strict=True):
            screened[verdict(record, price_of(project)).what] = (file, record)
        budget.spend([*screens, *(one for file in made for one in (file.candidate, file.reference))])
    return screened, tuple(left_out)


def _asked(
    measure: Measure,
    screened: Screened,
    waiting: Sequence[Verdict],
    gates: Mapping[str, Gate],
    against: tuple[Record, ...],
) -> Line[list[Record]]:
    """Those of `waiting` asked some of the questions of `against`, the cheapest first, a few at a time, until
    the first FULLS of the queue stand, whatever the dearer ones would answer.
    """
    price = price_of(measure.project)
    made: list[Record] = []
    for at in range(0, len(waiting), ASKED_AT_ONCE):
        if is_settled([verdict(record, price) for record in made], gates, FULLS):
            break
        some = waiting[at : at + ASKED_AT_ONCE]
        made += yield tuple(
            measure.again(screened, v, "partial", ITEMS["partial"], against=against) for v in some
        )
    return made


def _probed(measure: Measure, fulls: Sequence[Record]) -> Line[list[Record]]:
    """How those measured in full behave, where a gate asks for it or the project does.

    One whose engine failed, or that is not the model, is not asked.
    """
    project, told = measure.project, measure.project.release.probes
    names = probes(project)
    able = [record for record in fulls if record.fact("parity.fault").value is not None]
    if not names or not able:
        return []
    nodes = []
    for record in able:
        engine = str(record.settings["engine"])
        settings = ProbeSettings(
            engine=engine,
            threads=measure.threads,
            probes=names,
            items=told.items,
            task_score=project.task.score or SCORES[project.task.kind],
            seed=project.seed,
        )
        candidate = measure.candidate(record)
        inputs = {"candidate": (candidate,), "corpus": (measure.material.corpus,), "verdict": (record,)}
        nodes.append(
            Node(
                PROBE,
                settings,
                inputs,
                sources=measure.material.sets,
                measured_with=measure.made_with(engine),
                label=f"{candidate.settings['file']} on {engine}",
            )
        )
    return list((yield tuple(nodes)))


def _base(measure: Measure, like: Verdict, fidelity: Fidelity, items: int | None) -> Line[tuple[Record, ...]]:
    """The untuned base, unquantised, on the engine of `like`: what the gain is counted from.

    It has not learnt to be short: without `items`, where no gate hangs on it, it is asked the fewest.
    A server serves the tuned model alone: on one there is no base to compare with.
    """
    material = measure.material
    kinds = [kind for kind in UNQUANTISED if engines.reads(like.engine, kind)]
    if not kinds:
        return ()
    base = Wanted(material.base, ConvertSettings(file=kinds[0]))
    (file,) = yield from files((base,), material.model, material.corpus, BASE_ITEMS)
    gated = items is not None
    node = measure(file, like.engine, fidelity, items or FEWEST_ITEMS, decides_loss=gated, label="base")
    return (yield (node,))


def _race(
    measure: Measure, fulls: Sequence[Record], probes: Raced, gates: Mapping[str, Gate]
) -> Line[tuple[Record, ...]]:
    """The speed of all that may be released; nothing when there is none."""
    price = price_of(measure.project)
    able = [record for record in fulls if holds(verdict(record, price, probes=probes), gates)]
    if not able:
        return ()
    names = tuple(str(record.settings["engine"]) for record in able)
    settings = RaceSettings(
        engines=names, threads=measure.threads, mix=measure.mix, seed=measure.project.seed
    )
    inputs = {
        "candidates": tuple(measure.candidate(record) for record in able),
        "corpus": (measure.material.corpus,),
    }
    return (yield (Node(RACE, settings, inputs, measured_with=measure.made_with(*names)),))


def _looked_up(measure: Measure, winner: Verdict | None) -> Line[tuple[Record, ...]]:
    """Whether the winner answers sooner with words of the prompt proposed, where its engine can do that."""
    if not winner or not winner.has_pairs or "lookup" not in engines.ENGINES[winner.engine].gives:
        return ()
    settings = LookupSettings(
        engine=winner.engine,
        threads=winner.threads,
        callers=measure.mix.callers,
        seed=measure.project.seed,
    )
    candidate = measure.candidates[winner.candidate]
    inputs = {"candidate": (candidate,), "corpus": (measure.material.corpus,)}
    made_with, label = measure.made_with(winner.engine), f"{candidate.settings['file']} on {winner.engine}"
    return (yield (Node(LOOKUP, settings, inputs, measured_with=made_with, label=label),))


def _on_report(
    measure: Measure,
    screened: Screened,
    winner: Verdict,
    origin: Verdict | None,
    mine: looks.Look,
    *,
    gain_is_gated: bool,
) -> Line[tuple[Record, ...]]:
    """The winner on `report`, after the untuned base and the unquantised file that it is compared with."""
    items = measure.items("report", [winner, *([origin] if origin else [])])
    base: tuple[Record, ...] = ()
    against: tuple[Record, ...] = ()
    if measure.material.tuned:
        base = yield from _base(measure, origin or winner, "report", items if gain_is_gated else None)
    wins = origin is not None and origin.what == winner.what
    if origin and not wins:
        node = measure.again(screened, origin, "report", items, is_reference=True)
        against = yield (node,)
    node = measure.again(screened, winner, "report", items, base=base, against=against, is_reference=wins)
    (report,) = yield (replace(node, audited=looks.told(mine)),)
    return (report, *base, *against)
