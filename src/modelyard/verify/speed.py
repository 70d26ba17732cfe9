"""How fast engines are on this machine, at the project's mix and with one and eight callers."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import mean, median, stdev

from ..engines.protocol import Completion, Engine, Request, complete
from ..errors import EngineError
from ..intervals import LEVEL, student
from ..records.shapes import Fact
from .settings import Mix

SECONDS = "speed.s_per_1k_answers"
ROUNDS = 3  # of a race; each adds a turn of every contender
MORE_ROUNDS = 2  # of those that may still be the fastest
CLOSE = 1.25  # times the fastest's seconds: turns of one engine have differed by as much

CALLERS = (1, 8)  # the two loads of the facts speed.*.c1 and speed.*.c8
ENOUGH_S = 2.5  # seconds of measuring at each load; longer moves the figures by less than a run does
FEWEST = {
    1: 3,
    8: 16,
}  # answers at each load: eight callers answer twice, so that reading and writing overlap
MOST = 64  # answers at each load: a fast engine reaches it before ENOUGH_S


@dataclass(frozen=True, slots=True)
class Load:
    """Answers at one load, `callers` at once: seconds in all, and each answer's times."""

    callers: int
    seconds: float
    completions: tuple[Completion, ...]

    @property
    def answers_per_s(self) -> float:
        return len(self.completions) / self.seconds


def prompts(corpus: Sequence[int], tokens: int, count: int, seed: int) -> list[tuple[int, ...]]:
    """`count` prompts of exactly `tokens` token ids, windows of the corpus's token ids.

    Each starts elsewhere, so that an engine that keeps prefixes has nothing to reuse.
    """
    if not corpus:
        raise ValueError("prompts need at least one token of text")
    chance = random.Random(seed)
    longer = list(corpus) * (1 + tokens // len(corpus) + 1)
    starts = list(range(len(corpus)))
    chance.shuffle(starts)
    return [tuple(longer[(at := starts[i % len(starts)]) : at + tokens]) for i in range(count)]


@dataclass(slots=True)
class Runner:
    """A contender of a race: its loads by callers, a list of turns each, or why it is out."""

    engine: Engine | None = None
    loads: dict[int, list[Load]] = field(default_factory=lambda: defaultdict(list))
    failed: str = ""


def measure(
    engine: Engine,
    corpus: Sequence[int],
    mix: Mix,
    callers: int,
    *,
    silence_s: float,
    seed: int,
    fewest: int | None = None,
) -> Load:
    """The load of `callers` at once, after one answer that is not counted; at least `fewest` answers.

    Raises EngineError when an answer is shorter than the mix's: the figures would flatter the engine.
    """
    least = fewest or FEWEST.get(callers, 2 * callers)
    pool = prompts(corpus, mix.input_tokens, 1 + max(MOST, least), seed)
    _ask(engine, pool[:1], "warm", 1, mix.output_tokens, silence_s)
    return _load(engine, pool[1:], callers, least, mix, silence_s)


def race(
    runners: Sequence[Runner],
    corpus: Sequence[int],
    mix: Mix,
    *,
    silence_s: float,
    seed: int,
    report: Callable[..., None],
) -> None:
    """Every runner at the mix's callers in turn, ROUNDS times over, and once at each of CALLERS.

    Where several are CLOSE to the fastest, these alone go on for MORE_ROUNDS. The turns go there and back, so
    that nobody is always first. Who fails is out, and says why.
    """
    once = [callers for callers in CALLERS if callers != mix.callers]
    running, rounds = list(runners), ROUNDS
    for round in range(ROUNDS + MORE_ROUNDS):
        if round == ROUNDS:
            running, rounds = _close(runners, mix), ROUNDS + MORE_ROUNDS
            if len(running) < 2:
                return
        for runner in running if round % 2 == 0 else reversed(running):
            if runner.engine is None or runner.failed:
                continue
            report(f"race, round {round + 1} of {rounds}")
            try:
                for callers in [mix.callers, *(once if round == 0 else ())]:
                    load = measure(
                        runner.engine, corpus, mix, callers, silence_s=silence_s, seed=seed + round
                    )
                    runner.loads[callers].append(load)
            except EngineError as error:
                runner.failed = f"the engine failed: {error.what}"


def _close(runners: Sequence[Runner], mix: Mix) -> list[Runner]:
    """Those whose answers take hardly longer than the fastest's."""
    ran = [runner for runner in runners if runner.engine is not None and not runner.failed]
    rates = [together(runner.loads[mix.callers]).answers_per_s for runner in ran]
    return [runner for runner, rate in zip(ran, rates, strict=True) if rate * CLOSE >= max(rates)]


def together(loads: Sequence[Load]) -> Load:
    """Several turns of one runner at one load as one."""
    completions = tuple(one for load in loads for one in load.completions)
    return Load(loads[0].callers, sum(load.seconds for load in loads), completions)


def seconds(turns: Sequence[Load], mix: Mix) -> Fact:
    """Seconds for a thousand answers; with several turns, the interval is Student's over the turns."""
    each = [1e3 / load.answers_per_s for load in turns]
    value = 1e3 / together(turns).answers_per_s
    n = sum(len(load.completions) for load in turns)
    why = f"{turns[0].callers} callers, {mix.input_tokens} tokens in, {mix.output_tokens} out"
    if len(turns) < 2:
        return Fact(value, "s/1k answers", n=n, why=why)
    spread = student(len(turns)) * stdev(each) / math.sqrt(len(turns))
    low, high = max(0.0, value - spread), value + spread
    why += f", {len(turns)} alternating turns"
    return Fact(value, "s/1k answers", n=len(turns), low=low, high=high, level=LEVEL, why=why)


def _load(
    engine: Engine,
    pool: Sequence[tuple[int, ...]],
    callers: int,
    fewest: int,
    mix: Mix,
    silence_s: float,
) -> Load:
    done: list[Completion] = []
    seconds = 0.0
    while len(done) < fewest or (seconds < ENOUGH_S and len(done) + callers <= len(pool)):
        # The first round is the fewest; the next fills the time that is left.
        more = fewest if not done else _round(callers, len(done), seconds, len(pool))
        batch = pool[len(done) : len(done) + more]
        answered = _ask(engine, batch, f"c{callers}-{len(done)}", callers, mix.output_tokens, silence_s)
        seconds += max(one.last for one in answered) - min(one.submitted for one in answered)
        done += answered
    return Load(callers, seconds, tuple(done))


def _ask(
    engine: Engine, batch: Sequence[tuple[int, ...]], name: str, callers: int, tokens: int, silence_s: float
) -> list[Completion]:
    requests = [Request(f"{name}-{at}", prompt, tokens) for at, prompt in enumerate(batch)]
    answered = complete(engine, requests, callers=callers, limit_s=silence_s)
    for one in answered:
        if one.finish != "length" or len(one.tokens) != tokens:
            raise EngineError(
                f"{engine.name} wrote {len(one.tokens)} tokens where {tokens} were asked for "
                f"({one.error or one.finish})",
                try_="another engine for this file",
            )
    return answered


def _round(callers: int, done: int, seconds: float, most: int) -> int:
    wanted = math.ceil((ENOUGH_S - seconds) / (seconds / done) / callers) * callers
    return max(callers, min(wanted, (most - done) // callers * callers))


def facts(load: Load, input_tokens: int) -> dict[str, Fact]:
    """Speed and time to first token at one load, under the names that end in .c1 or .c8."""
    name = f"c{load.callers}"
    n = len(load.completions)
    waits = sorted(_first(one) - one.submitted for one in load.completions)
    opening = load.completions[: load.callers]  # asked together: nobody was writing yet
    reading = max(_first(one) for one in opening) - min(one.submitted for one in opening)
    if load.callers == 1:
        reading = mean(waits)
    pace = [
        (one.last - _first(one)) / (len(one.tokens) - 1) for one in load.completions if len(one.tokens) > 1
    ]
    decode = Fact(None, "tokens/s", why="answers of one token leave nothing to time")
    if pace and mean(pace) > 0:
        decode = Fact(load.callers / mean(pace), "tokens/s", n=n)
    prefill = Fact(None, "tokens/s", why="the first token came at once")
    if reading > 0:
        prefill = Fact(input_tokens * len(opening) / reading, "tokens/s", n=n)
    return {
        f"speed.decode_tps.{name}": decode,
        f"speed.prefill_tps.{name}": prefill,
        f"latency.ttft_p50_s.{name}": Fact(median(waits), "s", n=n),
        f"latency.ttft_p95_s.{name}": Fact(waits[math.ceil(0.95 * n) - 1], "s", n=n),
    }


def _first(one: Completion) -> float:
    return one.first if one.first is not None else one.last
