"""The figures of the release search, on a project whose `modelyard up` has run.

    python bench/release.py [--project examples/pydesk] [--only regret|servers|olive]

regret: every file on every engine in full, against what the search chose and how long it took.
servers: the release through its gateway, against llama.cpp's own server on its best file of equal quality.
olive: what Olive's own search finds on the same model in the same time.

Works on a copy of the project's yard, whose records it reuses: what `up` has measured is not measured again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import olive_search
import results
from asking import (
    CALLERS,
    MAX_TOKENS,
    ROOT,
    ask_server,
    completion,
    key_of,
    questions_of,
    serving,
    ungrounded,
)
from results import Figure
from tests.engines import openai

from modelyard import engines, machine
from modelyard.cli.place import Place
from modelyard.flow import Walk, line, search
from modelyard.flow.measuring import Measure
from modelyard.optimize.settings import CONVERT
from modelyard.records.clock import today
from modelyard.release import Pick, Verdict, gates_for, pick, raced, verdict
from modelyard.release.again import SURE
from modelyard.release.choose import COST, cheaper
from modelyard.release.settings import CHOOSE
from modelyard.train.settings import BASE
from modelyard.verify.settings import MEASURE, RACE, REFERENCE

PYDESK = ROOT / "examples" / "pydesk"
BATCH = 32  # questions of a turn
PAIRS = 16
ALL = 1_000  # more than there are candidates
NO_OLIVE = "OLIVE names no command: it needs an environment with olive-ai"
NO_VERDICT = "no file of llama.cpp's is as good"


@dataclass(frozen=True)
class Searched:
    """What a search measured in full, with the race's speeds, and whom it chose before `report`."""

    verdicts: tuple[Verdict, ...]
    choice: Pick
    seconds: float  # of measuring: what was screened, asked, measured in full and raced

    @property
    def best(self) -> Verdict:
        if self.choice.winner is None:
            raise SystemExit(f"no release: {self.choice.why}")
        return self.choice.winner

    @property
    def admissible(self) -> list[Verdict]:
        return [row.verdict for row in self.choice.rows if not row.failed and row.chance >= SURE]

    def of(self, what: tuple[str, str, int]) -> Verdict | None:
        return next((one for one in self.verdicts if one.what == what), None)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--project", type=Path, default=PYDESK)
    parser.add_argument("--only", choices=PARTS)
    told = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(told.project.resolve(), Path(place) / "project", symlinks=True))
        for name, part in PARTS.items():
            if told.only in (None, name):
                figures += part(copy)
    results.tell("release", figures, whole=told.only is None)


def regret(project: Path) -> list[Figure]:
    """What the search's choice costs more than the cheapest that an exhaustive measurement finds."""
    found = searched(project)
    every = exhaustive(project, found)
    ours, best = every.of(found.best.what), every.best
    if ours is None or ours.facts[COST].value is None:
        raise SystemExit("the exhaustive measurement has no cost for what the search chose")
    mine, least = (one.number(COST, float("nan")) for one in (ours, best))
    tried = len({one.label for one in every.verdicts})
    full = len({one.label for one in found.verdicts})
    return [
        Figure(
            "regret: cost of the search's choice above the cheapest admissible one",
            mine / least - 1,
            "share",
            at_most=0.03,
            why=f"{ours.label} against {best.label}; both in the exhaustive race, {tried} in full",
        ),
        Figure(
            "measuring, the search to all in full",
            found.seconds / every.seconds,
            "share",
            at_most=1 / 3,
            why=f"{found.seconds:.0f} s with {full} in full, {every.seconds:.0f} s with {tried}; "
            "screening is in both, converting in neither",
        ),
        *cheaper_than_four_bits(every),
        *alone(every, ours, project),
        *roof(ours, project),
    ]


def searched(project: Path, *, counted: Collection[str] = ("screen", "partial", "full")) -> Searched:
    """What `up` finds in the project: everything kept costs nothing but its recorded seconds.

    `counted`: measurements whose seconds count, beside those of the race.
    """
    place = Place.at(project)
    walk = Walk(place.yard, threads=machine.cores(), to=RACE.name)
    walk.follow(line(place.project, place.folder, place.yard))
    made = [done.record for done in walk.done if done.record]
    measured = [record for record in made if record.step == MEASURE.name]
    (race,) = (record for record in made if record.step == RACE.name)
    price, times = search.price_of(place.project), raced(race)
    fulls = [record for record in measured if record.settings["fidelity"] == "full"]
    verdicts = tuple(verdict(record, price, times) for record in fulls)
    gates = gates_for(place.project.release.gates, has_pairs=True, today=today())
    seconds = race.seconds + sum(one.seconds for one in measured if one.settings["fidelity"] in counted)
    return Searched(verdicts, pick(verdicts, gates), seconds)


def exhaustive(project: Path, found: Searched) -> Searched:
    """The search that `found` is without its halving: all that is not wrong is measured in full, on as many
    questions, and all of it races. Its screens count, too: they tell what is wrong.
    """
    yard = Place.at(project).yard
    items = {yard.one(one.id).settings["items"] for one in found.verdicts}
    with ExitStack() as stack:
        for name, value in {
            "FULLS": ALL,
            "FINALISTS": ALL,
            "holds": lambda one, gates: one.number("parity.fault", -1) >= 0,  # what fails a gate races, too
            "cheaper": partial(cheaper, fewest=ALL),
        }.items():
            stack.enter_context(mock.patch.object(search, name, value))
        stack.enter_context(mock.patch.object(Measure, "items", return_value=max(items)))
        return searched(project, counted=("screen", "full"))


def cheaper_than_four_bits(every: Searched) -> list[Figure]:
    """The cheapest admissible candidate to the plain 4-bit file on its cheapest engine."""
    right = every.admissible
    plain = [one for one in every.verdicts if one.label.startswith("gguf Q4_0")]
    four, best = (min(ones, key=lambda one: one.number(COST, 9e9), default=None) for ones in (plain, right))
    name = "cost of the plain 4-bit file to that of the cheapest admissible candidate"
    if four is None or best is None:
        return [Figure(name, None, "ratio", why="no 4-bit file was measured in full")]
    ratio = four.number(COST, 0) / best.number(COST, 1)
    return [Figure(name, ratio, "ratio", above=1.3, why=f"{four.label} against {best.label}")]


def alone(every: Searched, ours: Verdict, project: Path) -> list[Figure]:
    """One caller: seconds for an answer of the mix's length, the release and the fastest admissible one."""
    after_the_first = Place.at(project).project.release.mix.output_tokens - 1

    def seconds(one: Verdict) -> float:
        pace = one.number("speed.decode_tps.c1", 0)
        return one.number("latency.ttft_p50_s.c1", 9e9) + after_the_first / pace if pace else 9e9

    best = min(every.admissible, key=seconds)
    told = [f"{one.label} {1e3 * seconds(one):.0f} ms an answer" for one in (ours, best)]
    return [
        Figure(
            "speed at one caller, the release to the best single engine",
            seconds(best) / seconds(ours),
            "ratio",
            above=0.99,
            why=", ".join(told),
        )
    ]


def roof(ours: Verdict, project: Path) -> list[Figure]:
    """The share of this machine's roof that the release reaches: reading of memory, and products."""
    here = machine.roof()
    size = ours.number("candidate.size_mib", 0) * 2**20 / 1e9
    decode = ours.number("speed.decode_tps.c1", 0) * size / here.memory_read
    (base,) = Place.at(project).yard.find(step=BASE.name)
    parameters = base.fact("model.parameters").value or 0  # its head, a product too, is its embedding
    prefill = 2 * parameters * ours.number("speed.prefill_tps.c8", 0) / 1e9
    best = max(here.gemm_fp32, here.gemm_bf16)
    return [
        Figure(
            "decode at one caller, of memory bandwidth", decode, "share", why=f"{here.memory_read:.0f} GB/s"
        ),
        Figure("prefill at eight callers, of GEMM", prefill / best, "share", why=f"{best:.0f} GFLOP/s"),
    ]


def servers(project: Path) -> list[Figure]:
    """Tokens a second at 8 callers and at one: the release's gateway, llama.cpp's own server, in turns."""
    found = searched(project)
    every = exhaustive(project, found)
    ours = every.of(found.best.what)
    assert ours is not None
    yard = Place.at(project).yard
    release = yard.find(step=CHOOSE.name)[0]
    told = release.json("release.json")
    good = [
        one
        for one in every.verdicts
        if one.engine == "llamacpp"
        and one.number("quality.task", -1) >= ours.number("quality.task", 2)
        and one.facts[COST].value is not None
    ]
    goal = 2.0 if "avx512_vnni" in machine.features() else 1.3
    name = "tokens/s through the gateway to llama.cpp's own server, {} caller{}"
    if not good:
        return [Figure(name.format(n, "s" * (n > 1)), None, "ratio", why=NO_VERDICT) for n in (CALLERS, 1)]
    theirs = min(good, key=lambda one: one.number(COST, 9e9))
    # Each question once: llama.cpp's server keeps what it has read, and would not read a prompt again.
    turns_in_all = 2 * (PAIRS + 1)
    asked = questions_of(yard, release.folder, told, most=2 * turns_in_all * BATCH)[: turns_in_all * BATCH]
    bodies = [completion("desk", prompt, MAX_TOKENS) for _, prompt in asked]
    batches = iter([bodies[at : at + BATCH] for at in range(0, len(bodies) - BATCH + 1, BATCH)])
    longest = max(len(prompt) for _, prompt in asked) + MAX_TOKENS + 8
    file = engines.model_path(yard.one(yard.one(theirs.id).inputs["candidate"][0]).folder)
    figures = []
    with (
        tempfile.TemporaryDirectory() as place,
        openai.llamacpp(file, "bench", callers=CALLERS, tokens=longest, threads=ours.threads) as url,
    ):
        bare = ungrounded(Path(place) / "desk", release.folder, told)
        with serving(bare) as (gateway, _):
            key = key_of(bare)
            for callers in (CALLERS, 1):
                turns = []
                for turn in range(PAIRS + 1):
                    batch = next(batches)
                    mine = ask_server(gateway, key, "/v1/completions", batch, callers)
                    other = ask_server(url.removesuffix("/v1"), "bench", "/v1/completions", batch, callers)
                    if turn:  # the first warms both
                        turns.append((mine, other))
                figures.append(
                    _ratio(
                        name.format(callers, "s" * (callers > 1)),
                        turns,
                        goal if callers > 1 else None,
                        f"{ours.label} against {theirs.label}",
                    )
                )
    return figures


def _ratio(name: str, turns: Sequence[tuple[float, float]], above: float | None, what: str) -> Figure:
    middle, low, high = results.of_turns([mine / other for mine, other in turns])
    mine, other = (statistics.mean(side) for side in zip(*turns, strict=True))
    why = f"{what}; {PAIRS} alternating pairs of {BATCH} answers, {mine:.1f} and {other:.1f} tokens/s"
    return Figure(name, middle, "ratio", low=low, high=high, above=above, why=why)


def olive(project: Path) -> list[Figure]:
    """Olive's search on the tuned model against ours; `OLIVE` names its command."""
    command = os.environ.get("OLIVE")
    if not command:
        names = olive_search.FIGURES
        return [Figure(name, None, unit, why=NO_OLIVE) for name, unit in names]
    found = searched(project)
    place = Place.at(project)
    yard, gate = place.yard, place.project.release.gates["quality.task"]
    converted = [*yard.find(step=CONVERT.name), *yard.find(step=REFERENCE.name)]
    seconds = found.seconds + sum(record.seconds for record in converted)
    assert gate.max_loss is not None
    with tempfile.TemporaryDirectory() as work:
        return olive_search.compare(
            Path(command), Path(work), yard, found.best, seconds=seconds, max_loss=gate.max_loss
        )


PARTS = {"regret": regret, "servers": servers, "olive": olive}


if __name__ == "__main__":
    main()
