"""How fast the engine is on this machine, and what an answer costs, at the project's mix."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from ..engines.protocol import Completion, Engine, Request, complete
from ..errors import EngineError
from ..records.shapes import Fact
from .settings import Mix

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


def measure(
    engine: Engine, corpus: Sequence[int], mix: Mix, *, silence_s: float, seed: int
) -> dict[int, Load]:
    """Loads of one, of eight and of the mix's callers, after one answer that is not counted.

    Raises EngineError when an answer is shorter than the mix's: the figures would flatter the engine.
    """
    loads = sorted({*CALLERS, mix.callers})
    sizes = {callers: max(MOST, _fewest(callers)) for callers in loads}
    pool = prompts(corpus, mix.input_tokens, 1 + sum(sizes.values()), seed)
    _ask(engine, pool[:1], "warm", 1, mix.output_tokens, silence_s)
    found: dict[int, Load] = {}
    at = 1
    for callers in loads:
        found[callers] = _load(engine, pool[at : at + sizes[callers]], callers, mix, silence_s)
        at += sizes[callers]
    return found


def _fewest(callers: int) -> int:
    return FEWEST.get(callers, 2 * callers)


def _load(engine: Engine, pool: Sequence[tuple[int, ...]], callers: int, mix: Mix, silence_s: float) -> Load:
    fewest = _fewest(callers)
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


def cost(load: Load, mix: Mix, *, usd_per_hour: float, assumed: bool) -> dict[str, Fact]:
    """What a thousand answers and a million tokens (read and written) cost at this load."""
    usd_per_answer = usd_per_hour / 3600 / load.answers_per_s
    n = len(load.completions)
    price = f"{usd_per_hour:g} USD/hour{' (assumed: nobody gave the price)' if assumed else ''}"
    why = f"{load.callers} callers, {mix.input_tokens} tokens in, {mix.output_tokens} out, {price}"
    per_mtok = usd_per_answer / (mix.input_tokens + mix.output_tokens) * 1e6
    return {
        "speed.s_per_1k_answers": Fact(1e3 / load.answers_per_s, "s/1k answers", n=n, why=why),
        "cost.usd_per_1k_answers": Fact(usd_per_answer * 1e3, "USD/1k answers", n=n, why=why),
        "cost.usd_per_mtok": Fact(per_mtok, "USD/1M tokens", n=n, why=why),
    }


def _first(one: Completion) -> float:
    return one.first if one.first is not None else one.last
