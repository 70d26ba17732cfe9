"""verify.race: the finalists' speed, measured in alternating runs so that a busy minute hits all alike.

Reads the candidates and the corpus, whose text is read by the engines; writes race.json.
"""

from __future__ import annotations

from contextlib import ExitStack

from .. import engines
from ..errors import EngineError
from ..prompt import Prompter
from ..records.digest import canonical
from ..records.facts import FACTS
from ..records.shapes import Fact, Inputs, Output, Workspace, fact_json
from . import speed
from .measure import SPARE_TOKENS, corpus_tokens
from .settings import RaceSettings

MEASURED = tuple(name for name in FACTS if name.startswith(("speed.", "latency.")))


def run(settings: RaceSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Measure all contenders in turn, several times over.

    One whose engine fails leaves its facts unmeasured and says why; the others race on.
    """
    candidates = inputs.all("candidates")
    mix = settings.mix
    text = corpus_tokens(Prompter(candidates[0].folder), inputs.one("corpus"), seed=settings.seed)
    runners: list[speed.Runner] = []
    with ExitStack() as stack:
        for name, candidate in zip(settings.engines, candidates, strict=True):
            runner = speed.Runner()
            runners.append(runner)
            try:
                runner.engine = engines.start(
                    name,
                    engines.model_path(candidate.folder),
                    threads=settings.threads,
                    callers=max(mix.callers, *speed.CALLERS),
                    context_tokens=mix.input_tokens + mix.output_tokens + SPARE_TOKENS,
                    limit_s=settings.silence_s,
                )
                stack.callback(runner.engine.close)
            except EngineError as error:
                runner.failed = f"the engine failed: {error.what}"
        speed.race(
            runners, text, mix, silence_s=settings.silence_s, seed=settings.seed, report=workspace.report
        )
        found = [_facts(runner, settings) for runner in runners]
    contenders = [
        {
            "candidate": candidate.digest,
            "engine": name,
            "threads": settings.threads,
            "facts": fact_json(facts),
        }
        for name, candidate, facts in zip(settings.engines, candidates, found, strict=True)
    ]
    (workspace.out / "race.json").write_bytes(canonical({"contenders": contenders}))
    failed = "; ".join(runner.failed for runner in runners if runner.failed)
    return Output(provisional=failed)


def _facts(runner: speed.Runner, settings: RaceSettings) -> dict[str, Fact]:
    if runner.failed:
        return {name: Fact(None, FACTS[name].unit, why=runner.failed) for name in MEASURED}
    facts = {speed.SECONDS: speed.seconds(runner.loads[settings.mix.callers], settings.mix)}
    for callers in speed.CALLERS:
        facts |= speed.facts(speed.together(runner.loads[callers]), settings.mix.input_tokens)
    return facts
