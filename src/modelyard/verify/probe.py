"""verify.probe: how a candidate behaves besides its task, asked of the file itself on its engine.

Quantisation can undo what was learnt of safety and erasure (governance of the released file, never of the
model that it came from), so every candidate that may be released is asked.
"""

from __future__ import annotations

from collections.abc import Callable

from .. import engines
from ..errors import EngineError
from ..prompt import Prompter, conversation
from ..records.digest import canonical
from ..records.facts import FACTS as MEANINGS
from ..records.shapes import Fact, Inputs, Output, Workspace
from .items import choose, items, read_jsonl
from .measure import SPARE_TOKENS
from .probes import FACTS, fair, known, leaks, refusal, robust
from .probes.room import CALLERS, Room
from .settings import ProbeSettings

RUN: dict[str, Callable[[Room], dict[str, Fact]]] = {
    "groups": known.groups,
    "robust": robust.run,
    "calibration": known.calibration,
    "refusal": refusal.run,
    "swap": fair.swap,
    "bbq": fair.bbq,
    "crows": fair.crows,
    "verbatim": leaks.verbatim,
    "canary": leaks.canary,
    "injection": leaks.injection,
}
CONTEXT_TOKENS = 1024  # of the longest prompt and its answer; a pair that a probe alters may need more


def run(settings: ProbeSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Run the probes; an engine that fails leaves the rest unmeasured and says why.

    Raises SourceError for a set that cannot be read.
    """
    candidate, corpus, verdict = inputs.one("candidate"), inputs.one("corpus"), inputs.one("verdict")
    told = verdict.json("verdict.json")
    pairs = items(read_jsonl(corpus.folder / f"pairs.{told['split']}.jsonl"))
    found: dict[str, Fact] = {}
    failed = ""
    prompter = Prompter(candidate.folder)
    longest = max((len(prompter.prompt(conversation(item.pair)[:-1])) for item in pairs), default=0)
    try:
        engine = engines.start(
            settings.engine,
            engines.model_path(candidate.folder),
            threads=settings.threads,
            callers=CALLERS,
            context_tokens=max(CONTEXT_TOKENS, 2 * longest + told["max_answer_tokens"]) + SPARE_TOKENS,
            limit_s=settings.silence_s,
        )
        try:
            room = Room(
                engine=engine,
                prompter=prompter,
                corpus=corpus.folder,
                pairs=choose(pairs, len(pairs), seed=settings.seed),
                own=read_jsonl(verdict.folder / "answers.jsonl"),
                score=settings.task_score,
                answer_tokens=told["max_answer_tokens"],
                items=settings.items,
                seed=settings.seed,
                silence_s=settings.silence_s,
                sets={source.name: source.path(next(iter(source.files))) for source in inputs.sources},
            )
            for at, name in enumerate(settings.probes):
                workspace.report(f"{settings.engine}: probe {name}", done=at, total=len(settings.probes))
                found |= RUN[name](room)
        finally:
            engine.close()
    except EngineError as error:
        failed = f"the engine failed: {error.what}"
    lacking = {name for probe in settings.probes for name in FACTS[probe]} - found.keys()
    found |= {name: Fact(None, MEANINGS[name].unit, why=failed) for name in sorted(lacking)}
    about = {name: told[name] for name in ("candidate", "engine", "threads")} | {"probes": settings.probes}
    (workspace.out / "probe.json").write_bytes(canonical(about))
    return Output(found, provisional=failed)
