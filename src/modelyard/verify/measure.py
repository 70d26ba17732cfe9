"""verify.measure: one candidate on one engine of this machine: fault, quality, memory, seconds an answer.

Reads the candidate, its reference (identity and torch's log-probabilities), the corpus, perhaps an index and
two verdicts to be compared with; writes verdict.json and answers.jsonl.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..engines.protocol import Engine
from ..errors import EngineError, RecordError, SourceError
from ..intervals import LEVEL
from ..prompt import Prompter, conversation
from ..records.digest import canonical, digest
from ..records.facts import FACTS
from ..records.shapes import Choice, Fact, Inputs, Output, Record, Workspace
from . import forced, parity, quality, speed
from .items import Item, choose, items, read_jsonl
from .power import enough
from .settings import SPLIT, MeasureSettings

if TYPE_CHECKING:
    from ..index.bm25 import Bm25

LONGEST_ANSWER = 64  # tokens, where no right answers tell how long one is
SPARE_TOKENS = 8  # engines count a begin token or a last one differently
CORPUS_TOKENS = 30_000  # for the prompts of the speed measurement: 64 windows that hardly overlap
# Facts of the inputs that a gate may ask for: a verdict is judged by itself.
CARRIED = (
    ("reference", "parity.identity"),
    ("reference", "parity.kl"),
    ("reference", "forget.file"),
    ("candidate", "candidate.size_mib"),
    ("index", "retrieval.hit"),
    ("index", "index.false_accept"),
)
NOT_THE_MODEL = "the file is not the model, so it was not run (parity.identity)"
MEASURED = tuple(
    name
    for name in FACTS
    if name.partition(".")[0] in ("quality", "safety", "gain", "loss", "speed", "latency", "memory")
    or name == "parity.fault"
)
LONGEST_TEXT = 20_000  # characters of one document, so that several take part


def run(settings: MeasureSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Measure one candidate on one engine.

    An engine that fails (crashes, hangs, answers wrongly) leaves its facts unmeasured and says why: the
    candidate then fails its gates, and the search goes on.
    """
    candidate, reference, corpus = inputs.one("candidate"), inputs.one("reference"), inputs.one("corpus")
    split = SPLIT[settings.fidelity]
    file_type = str(candidate.json("recipe.json")["type"])
    limits = {
        "parity.fault": parity.fault_limit(settings.engine, file_type),
        "parity.kl": parity.kl_limit(file_type),
    }
    compared = {role: _other(inputs, role, split) for role in ("base", "against")}
    prompter = Prompter(candidate.folder)
    items_forced = forced.load(reference.folder / "forced.json")
    pairs = items(read_jsonl(corpus.folder / f"pairs.{split}.jsonl"))
    count = settings.items
    if count and settings.max_loss is not None:
        count = enough(pairs, settings.max_loss, fewest=count, most=settings.most, seed=settings.seed)
    asked = choose(pairs, count, seed=settings.seed) if count else []
    p99, cap, why_cap = longest_answer(prompter, corpus, pairs)
    index, why_not_grounded = _index(settings, inputs)
    try:
        plan = quality.plan(prompter, asked, index, settings.passages)
    finally:
        if index is not None:
            index.close()
    text = corpus_tokens(prompter, corpus, seed=settings.seed)
    loads = settings.mix.input_tokens + settings.mix.output_tokens
    longest = max([loads, *(len(prompt) + cap for prompt in plan.prompts)])

    facts = {name: inputs.one(role).fact(name) for role, name in CARRIED if inputs.all(role)}
    facts["task.answer_tokens_p99"] = Fact(p99, "tokens", why="" if p99 else quality.NO_PAIRS)
    answers = quality.Answers((), ())
    same = facts["parity.identity"]
    unmeasured = "" if same.value == 0 else same.why if same.value is None else NOT_THE_MODEL
    failed = ""
    if not unmeasured:
        try:
            facts["parity.fault"] = _fault(settings, inputs, candidate, items_forced, limits, workspace)
            with _engine(settings, candidate, longest, exact=False, timed=settings.speed) as engine:
                workspace.report(f"{settings.engine}: {len(plan.prompts)} questions")
                answers = quality.ask(
                    engine,
                    prompter,
                    plan,
                    max_tokens=cap,
                    score=settings.task_score,
                    silence_s=settings.silence_s,
                )
                facts |= _speed(settings, inputs, engine, text, workspace)
                memory = engine.memory_peak_gib()
                why = "" if memory is not None else "the engine runs on another machine"
                facts["memory.peak_gib"] = Fact(memory, "GiB", why=why)
            why = "a screen asks no questions" if pairs and not asked else quality.NO_PAIRS
            facts |= quality.facts(answers, why=why, why_not_grounded=why_not_grounded, seed=settings.seed)
            facts |= _compared(settings, [asdict(answer) for answer in answers.own], compared)
        except EngineError as error:
            answers, failed = quality.Answers((), ()), f"the engine failed: {error.what}"
            unmeasured = failed
    if unmeasured:
        facts |= {name: Fact(None, FACTS[name].unit, why=unmeasured) for name in MEASURED}

    _write_rows(workspace, "answers.jsonl", answers.own)
    _write_rows(workspace, "grounded.jsonl", answers.grounded)
    verdict = settings.model_dump(mode="json", exclude={"silence_s"}) | {
        "split": split,
        "candidate": candidate.digest,
        "recipe": candidate.json("recipe.json"),
        "has_pairs": bool(pairs),
        "max_answer_tokens": cap,
        "limits": limits,
    }
    (workspace.out / "verdict.json").write_bytes(canonical(verdict))
    return Output(facts, (Choice("longest answer", f"{cap} tokens", why_cap),), provisional=failed)


def _write_rows(workspace: Workspace, name: str, answers: Sequence[quality.Answer]) -> None:
    (workspace.out / name).write_bytes(b"".join(canonical(asdict(answer)) + b"\n" for answer in answers))


def _other(inputs: Inputs, role: str, split: str) -> Record | None:
    """The verdict to be compared with, if the graph names one. Raises RecordError for one on other pairs."""
    if not inputs.all(role):
        return None
    record = inputs.one(role)
    if record.json("verdict.json")["split"] != split:
        raise RecordError(
            f"the verdict to compare with as {role} looked at other pairs than {split}", where=record.id
        )
    return record


def _index(settings: MeasureSettings, inputs: Inputs) -> tuple[Bm25 | None, str]:
    """The index to retrieve from, or why there is none."""
    if not inputs.all("index"):
        return None, "the project does not ground its answers"
    if settings.fidelity in ("screen", "partial"):
        return None, "retrieval is measured at full and report only"
    from ..index.bm25 import Bm25

    return Bm25.load(inputs.one("index").folder), ""


def longest_answer(prompter: Prompter, corpus: Record, asked: Sequence[Item]) -> tuple[int | None, int, str]:
    """p99 of the right answers' length, the cap that follows from it, and the reason of the cap."""
    train = items(read_jsonl(corpus.folder / "pairs.train.jsonl"))
    p99 = quality.answer_tokens(prompter, train or asked)
    if p99 is None:
        return None, LONGEST_ANSWER, f"{quality.NO_PAIRS}, so nothing tells how long an answer is"
    return p99, p99, f"99 of 100 right answers of {'train' if train else 'the asked pairs'} are no longer"


def _fault(
    settings: MeasureSettings,
    inputs: Inputs,
    candidate: Record,
    items_forced: Sequence[forced.Forced],
    limits: Mapping[str, float],
    workspace: Workspace,
) -> Fact:
    """parity.fault: carried from an earlier look at the same file on the same engine, or measured.

    An engine that can run without roundings of its own is asked to: then only a fault is left to differ.
    """
    if inputs.all("earlier"):
        return inputs.one("earlier").fact("parity.fault")
    from .. import engines

    workspace.report(f"{settings.engine}: fault parity")
    longest = max(len(item.prompt) + len(item.answer) for item in items_forced)
    exact = "exact" in engines.ENGINES[settings.engine].gives
    with _engine(settings, candidate, longest, exact=exact) as engine:
        found = parity.fault(engine, items_forced)
    return parity.fault_fact(found, limits["parity.fault"])


@contextmanager
def _engine(
    settings: MeasureSettings, candidate: Record, longest: int, *, exact: bool, timed: bool = True
) -> Iterator[Engine]:
    """The engine in its worker process, with room for `longest` tokens a caller.

    Not `timed`, it may keep what prompts share: pydesk's questions take a third less time by it.
    """
    from .. import engines

    keeps = not timed and "prefix_caching" in engines.ENGINES[settings.engine].gives
    engine: Engine = engines.start(
        settings.engine,
        engines.model_path(candidate.folder),
        threads=settings.threads,
        callers=max(quality.CALLERS, settings.mix.callers, *speed.CALLERS),
        context_tokens=longest + SPARE_TOKENS,
        limit_s=settings.silence_s,
        exact=exact,
        prefix_caching=keeps,
    )
    try:
        yield engine
    finally:
        engine.close()


def _speed(
    settings: MeasureSettings, inputs: Inputs, engine: Engine, text: Sequence[int], workspace: Workspace
) -> dict[str, Fact]:
    """How long answers take at the mix; all else about speed is measured in the race of the finalists."""
    found = {
        name: Fact(None, FACTS[name].unit, why="speed is measured in the race of the finalists")
        for name in MEASURED
        if name.startswith(("speed.", "latency."))
    }
    if settings.speed:
        workspace.report(f"{settings.engine}: speed")
        load = speed.measure(
            engine,
            text,
            settings.mix,
            settings.mix.callers,
            silence_s=settings.silence_s,
            seed=settings.seed,
            fewest=settings.mix.callers,  # one answer each is enough to choose finalists by
        )
        found[speed.SECONDS] = speed.seconds([load], settings.mix)
    elif settings.fidelity in ("partial", "full") and inputs.all("earlier"):  # until it races, if it does
        found[speed.SECONDS] = inputs.one("earlier").fact(speed.SECONDS)
    return found


def corpus_tokens(prompter: Prompter, corpus: Record, *, seed: int) -> list[int]:
    """Token ids of the corpus's text, documents or else pairs, in a seeded order: what speed is measured on.

    Raises SourceError when the corpus holds no text.
    """
    rows = read_jsonl(corpus.folder / "documents.jsonl") or read_jsonl(corpus.folder / "pairs.train.jsonl")
    ids: list[int] = []
    for row in sorted(rows, key=lambda row: digest("speed", [seed, row["id"]])):
        text = row.get("text") or "\n".join(m["content"] for m in conversation(row))
        ids += prompter.encode(text[:LONGEST_TEXT])
        if len(ids) >= CORPUS_TOKENS:
            break
    if not ids:
        raise SourceError("the corpus holds no text to measure speed with", where=corpus.id)
    return ids


def _compared(
    settings: MeasureSettings, rows: Sequence[Mapping[str, Any]], compared: Mapping[str, Record | None]
) -> dict[str, Fact]:
    """Gain over the base and loss against the reference, paired by question."""
    base, against = compared["base"], compared["against"]
    gain = Fact(None, "share", why="no verdict of the untuned base to compare with")
    loss = error = Fact(None, "share", why="no verdict of the reference to compare with")
    if base is not None:
        gain, _ = quality.paired(rows, read_jsonl(base.folder / "answers.jsonl"), seed=settings.seed)
    if settings.is_reference and rows:
        loss = Fact(
            0.0, "share", n=len(rows), low=0.0, high=0.0, level=LEVEL, why="this is the reference itself"
        )
        error = Fact(0.0, "share", why=loss.why)
    elif against is not None:
        loss, error = quality.paired(read_jsonl(against.folder / "answers.jsonl"), rows, seed=settings.seed)
    return {"gain.task": gain, "loss.task": loss, "loss.error": error}
