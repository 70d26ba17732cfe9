"""verify.lookup: are answers sooner, and the same, where the engine proposes words of the prompt?

Prompt-lookup decoding: the last tokens written are sought in the prompt, those that follow there are
proposed, and the model checks them all in one step; what it would not have written itself is thrown away.
Answers that quote gain by it, others may lose. Reads the winner and the corpus, whose questions are asked of
the engine with and without; writes lookup.json.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from .. import engines, intervals
from ..engines.protocol import Completion, Engine, Request, complete
from ..errors import EngineError
from ..prompt import Prompter
from ..records.digest import canonical
from ..records.facts import FACTS
from ..records.shapes import Fact, Inputs, Output, Workspace
from . import quality
from .items import choose, items, read_jsonl
from .measure import SPARE_TOKENS, longest_answer
from .settings import LookupSettings

SAME, ALONE, TOGETHER = "lookup.same", "lookup.speedup.c1", "lookup.speedup.mix"
ROUNDS = 2  # there and back, so that neither way is always first


def run(settings: LookupSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Ask the same questions both ways, alone and with the mix's callers.

    An engine that fails leaves the facts unmeasured and says why: the release is then served without.
    """
    candidate, corpus = inputs.one("candidate"), inputs.one("corpus")
    prompter = Prompter(candidate.folder)
    pool = items(read_jsonl(corpus.folder / "pairs.select.jsonl"))
    asked = [one for one in choose(pool, settings.items, seed=settings.seed) if one.stratum != "absent"]
    plan = quality.plan(prompter, asked, None, 1)
    prompts, groups = [plan.own[one.id] for one in asked], [one.group for one in asked]
    _, cap, _ = longest_answer(prompter, corpus, pool)
    told = {"candidate": candidate.id, "engine": settings.engine, "threads": settings.threads}
    (workspace.out / "lookup.json").write_bytes(canonical(told))
    if not prompts:
        return Output(_unmeasured("no question of select has a passage of its own"))
    failed = ""
    try:
        facts = _measured(settings, candidate.folder, prompts, groups, prompter.end, cap, workspace)
    except EngineError as error:
        failed = f"the engine failed: {error.what}"
        facts = _unmeasured(failed)
    return Output(facts, provisional=failed)


def _unmeasured(why: str) -> dict[str, Fact]:
    return {name: Fact(None, FACTS[name].unit, why=why) for name in (SAME, ALONE, TOGETHER)}


def _measured(
    settings: LookupSettings,
    folder: Path,
    prompts: Sequence[tuple[int, ...]],
    groups: Sequence[str],
    end: int,
    cap: int,
    workspace: Workspace,
) -> dict[str, Fact]:
    """The facts. Raises EngineError when the engine fails either way."""
    seconds: dict[tuple[int, bool], list[float]] = defaultdict(list)
    written: list[list[tuple[int, ...]]] = []
    loads = sorted({1, settings.callers})
    with ExitStack() as stack:
        running: dict[bool, Engine] = {}
        for lookup in (False, True):
            running[lookup] = engines.start(
                settings.engine,
                engines.model_path(folder),
                threads=settings.threads,
                callers=max(loads),
                context_tokens=max(map(len, prompts)) + cap + SPARE_TOKENS,
                limit_s=settings.silence_s,
                lookup=lookup,
            )
            stack.callback(running[lookup].close)
            _ask(running[lookup], prompts[:1], end, cap, 1, settings.silence_s)
        for turn in range(ROUNDS):
            for callers in loads:
                for lookup in (False, True) if turn % 2 == 0 else (True, False):
                    workspace.report(f"{settings.engine}: {'with' if lookup else 'without'} lookup")
                    done = _ask(running[lookup], prompts, end, cap, callers, settings.silence_s)
                    seconds[callers, lookup] += [one.last - one.submitted for one in done]
                    written.append([one.tokens for one in done])
    same = sum(len(set(answers)) == 1 for answers in zip(*written, strict=True))
    why = f"tokens compared over {ROUNDS} rounds at {' and '.join(map(str, loads))} callers"
    facts = {SAME: Fact(same / len(prompts), "share", n=len(prompts), why=why)}
    for name, callers in ((ALONE, 1), (TOGETHER, settings.callers)):
        found = intervals.ratio(seconds[callers, False], seconds[callers, True], [*groups] * ROUNDS)
        facts[name] = Fact(unit="ratio", **found.told(), why=f"{callers} callers, {ROUNDS} rounds")
    return facts


def _ask(
    engine: Engine,
    prompts: Sequence[tuple[int, ...]],
    end: int,
    cap: int,
    callers: int,
    silence_s: float,
) -> list[Completion]:
    requests = [Request(f"q{at}", prompt, cap, (end,)) for at, prompt in enumerate(prompts)]
    done = complete(engine, requests, callers=callers, limit_s=silence_s)
    for one in done:
        if one.finish not in ("stop", "length"):
            raise EngineError(f"{engine.name} failed on a question: {one.error or one.finish}")
    return done
