"""verify.reference: what belongs to a file and not to an engine. Is it this model, and what would torch say?

Reads a candidate, its model and the corpus; writes identity.json and forced.json.
"""

from __future__ import annotations

from dataclasses import asdict

from .. import engines, general, intervals
from ..prompt import Prompter
from ..records.digest import canonical, file_sha256
from ..records.shapes import Choice, Fact, Inputs, Output, Workspace
from . import forced, identity, weights
from .settings import ReferenceSettings

COPIED = (
    "tokenizer.json",
    "chat_template.jinja",
)  # the engine's side uses the candidate's, tuning the model's

GENERAL_TEXTS, GENERAL_TOKENS = 12, 64  # read by both in about a second


def run(settings: ReferenceSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Compare the file with the model by its metadata, its numbers and its distributions.

    A file that is not the model is not run. Raises SourceError for a file that cannot be read or run, or a
    corpus without any text.
    """
    candidate, model, corpus = inputs.one("candidate"), inputs.one("model"), inputs.one("corpus")
    path = engines.model_path(candidate.folder)
    prompter = Prompter(candidate.folder)
    items, source = forced.choose_forced(prompter, corpus.folder, settings.items, seed=settings.seed)

    made = candidate.fact("candidate.size_mib")
    if made.value is None:
        forced.save(workspace.out / "forced.json", items)
        unmeasured = {name: "nats/token" for name in ("parity.kl", "forget.file")}
        unmeasured["parity.identity"] = "differences"
        return Output({name: Fact(None, unit, why=made.why) for name, unit in unmeasured.items()})

    workspace.report("comparing the file with the model")
    rows = identity.differences(path, model.folder)
    rows += [
        identity.Difference(name, file_sha256(candidate.folder / name), file_sha256(model.folder / name))
        for name in COPIED
        if (candidate.folder / name).read_bytes() != (model.folder / name).read_bytes()
    ]
    if not rows:
        rows = weights.compare(path, model.folder, str(candidate.json("recipe.json")["type"]))
    kl = forgot = Fact(None, "nats/token", why="the file is not the model, so it was not run")
    if not rows:
        shown = [prompter.encode(text)[:GENERAL_TOKENS] for _, text in general.texts()[:GENERAL_TEXTS]]
        items, divergence = weights.measure(
            path,
            model.folder,
            items,
            [tuple(ids) for ids in shown],
            threads=workspace.threads,
            report=workspace.report,
        )
        forgot = _forgot(divergence)
        mean = intervals.mean(divergence.by_item, seed=settings.seed)
        kl = Fact(
            unit="nats/token",
            **mean.told(),
            why=f"{divergence.tokens} answer tokens of {mean.items} items from the corpus's {source}",
        )
    forced.save(workspace.out / "forced.json", items)
    (workspace.out / "identity.json").write_bytes(canonical({"differences": [asdict(row) for row in rows]}))
    same = Fact(float(len(rows)), "differences", why="; ".join(row.what for row in rows[:5]))
    return Output(
        {"parity.identity": same, "parity.kl": kl, "forget.file": forgot},
        (Choice("items", source, "pairs, where there are any, are what the model will be asked"),),
    )


def _forgot(divergence: weights.Divergence) -> Fact:
    """The rise of the loss on general texts, paired by text."""
    rises = [rise for rise, _ in divergence.general]
    counts = [count for _, count in divergence.general]
    found = intervals.ratio(rises, counts, [str(at) for at in range(len(rises))])
    why = f"{sum(counts)} tokens of {found.items} general texts"
    return Fact(unit="nats/token", **found.told(), why=why)
