"""The step optimize.prune: a Model without its least important layers, channels or groups of heads.

Importance is learnt from calibration text; it is used only where it beats a choice that looks at nothing
(the last layers, the smallest weights) on text held out from it, by an interval that excludes zero.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import intervals
from ..errors import NoRoom, SourceError, need
from ..prompt import Prompter
from ..records.shapes import Choice, Fact, Inputs, Output, Workspace
from . import architecture, calibration, smaller
from .architecture import Architecture
from .calibration import Text
from .settings import PruneSettings

if TYPE_CHECKING:
    from torch import Tensor

    from .importance import Kept, Probe

UNIT = "nats/token"
BLOCK = 32  # channels: the weights that share a scale in a GGUF file, so every file type stays possible
COPIED = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja")


@dataclass(frozen=True, slots=True)
class Size:
    """What is to be left of a model in each direction; as much as it has where nothing was asked."""

    layers: int
    channels: int
    groups: int


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut in one direction, by importance and without looking."""

    name: str  # of the setting
    what: str
    learnt: Kept
    naive: Kept
    by: tuple[str, str]  # what either goes by


def run(settings: PruneSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Cut the record in role `model` down, calibrated on the one in role `corpus`.

    Raises SourceError for a size that the model cannot have, an architecture that is not known, or a corpus
    with too little text, NoRoom when the disk is full.
    """
    need("torch", extra="train", for_="pruning")
    model, corpus = inputs.one("model"), inputs.one("corpus")
    told = model.json("config.json")
    shape = architecture.read(told)
    size = wanted(settings, shape)
    workspace.report("reading calibration text")
    texts = calibration.gather(corpus.folder, Prompter(model.folder), settings.texts, seed=settings.seed)

    from .importance import Kept, Probe, threads

    kept = Kept(tuple(range(shape.layers)))
    facts: dict[str, Fact] = {}
    choices: list[Choice] = []
    with threads(workspace.threads):
        probe = Probe(model.folder, shape)
        workspace.report("asking the whole model")
        before = after = probe.losses(texts.held, kept)
        for cut_of in _cuts(size, shape):
            workspace.report("measuring what matters least")
            cut = cut_of(probe, texts.measured, kept)
            workspace.report(f"asking the model without {cut.what}")
            learnt, naive = (probe.losses(texts.held, one) for one in (cut.learnt, cut.naive))
            gain = difference(naive, learnt, texts.held)
            wins = gain.low is not None and gain.low > 0
            kept, after = (cut.learnt, learnt) if wins else (cut.naive, naive)
            facts[f"prune.gain.{cut.name}"] = gain
            choices.append(_choice(cut, gain, wins=wins))
    written = smaller.tensors(model.folder, shape, kept)
    _write(written, smaller.config(told, shape, kept), model.folder, workspace.out, size, shape)
    (workspace.out / "kept.json").write_text(_json(_kept(kept)), "utf-8")
    return Output(facts | _facts(before, after, texts, model.folder, written), tuple(choices))


def wanted(settings: PruneSettings, shape: Architecture) -> Size:
    """The size that the settings ask for. Raises SourceError for one that this model cannot have."""
    layers, groups, channels = settings.layers, settings.groups, shape.intermediate
    if layers is not None and layers >= shape.layers:
        raise _impossible(
            f"the model has {shape.layers} layers, so cutting it down to {layers} removes none",
            f"layers: {layers}",
            f"layers: 1 to {shape.layers - 1}",
        )
    if settings.mlp is not None:
        channels = round(settings.mlp * shape.intermediate / BLOCK) * BLOCK
        if not 0 < channels < shape.intermediate:
            raise _impossible(
                f"{settings.mlp:g} of {shape.intermediate} channels, by blocks of {BLOCK}, is {channels}: "
                "nothing would be left, or nothing removed",
                f"mlp: {settings.mlp:g}",
                f"a share that leaves {BLOCK} to {(shape.intermediate - 1) // BLOCK * BLOCK} channels",
            )
    if groups is not None:
        # transformers wants the width to be a multiple of the number of heads.
        heads = shape.heads // shape.kv_heads
        able = [count for count in range(1, shape.kv_heads) if shape.hidden % (heads * count) == 0]
        if groups not in able:
            raise _impossible(
                f"the model has {shape.kv_heads} groups of heads and cannot be cut down to {groups}",
                f"groups: {groups}",
                f"groups: {' or '.join(map(str, able))}" if able else "layers or mlp",
            )
    return Size(layers or shape.layers, channels, groups or shape.kv_heads)


def _impossible(what: str, setting: str, try_: str) -> SourceError:
    return SourceError(what, where=f"release.search.prune: {setting}", try_=try_)


def difference(first: Sequence[float], second: Sequence[float], texts: Sequence[Text]) -> Fact:
    """The loss of the first minus that of the second, text by text, its interval over their groups."""
    groups = [text.group for text in texts]
    apart = [a - b for a, b in zip(first, second, strict=True)]
    found = intervals.ratio(apart, [text.labels for text in texts], groups)
    return Fact(found.value, UNIT, n=found.groups, low=found.low, high=found.high, level=intervals.LEVEL)


CutOf = Callable[["Probe", Sequence[Text], "Kept"], Cut]


def _cuts(size: Size, shape: Architecture) -> Iterator[CutOf]:
    """Layers first: what is left of width is measured on the layers that stay."""
    if size.layers < shape.layers:
        yield lambda probe, texts, kept: _depth(size.layers, probe, texts, kept)
    if size.groups < shape.kv_heads:
        yield lambda probe, texts, kept: _width("groups", size.groups, probe, texts, kept)
    if size.channels < shape.intermediate:
        yield lambda probe, texts, kept: _width("mlp", size.channels, probe, texts, kept)


def _depth(count: int, probe: Probe, texts: Sequence[Text], kept: Kept) -> Cut:
    from .importance import Kept

    influence = probe.influence(texts, kept)
    most = sorted(influence, key=lambda layer: influence[layer], reverse=True)[:count]
    removed = len(kept.layers) - count
    return Cut(
        "layers",
        f"{removed} of {len(kept.layers)} layers",
        Kept(tuple(sorted(most))),
        Kept(kept.layers[:count]),
        ("the least block influence", "the last layers"),
    )


def _width(name: str, count: int, probe: Probe, texts: Sequence[Text], kept: Kept) -> Cut:
    """The same number in every layer, each layer's own."""
    from .importance import Kept

    channels = name == "mlp"
    scores = (probe.channels if channels else probe.groups)(texts, kept)
    norms = {layer: (probe.channel_norms if channels else probe.group_norms)(layer) for layer in kept.layers}
    by_scores, by_norms = (
        {layer: tuple(sorted(of.topk(count).indices.tolist())) for layer, of in found.items()}
        for found in (scores, norms)
    )
    whole = len(next(iter(scores.values())))
    what = f"{whole - count} of {whole} " + (
        "channels of each MLP" if channels else "groups of heads a layer"
    )
    both = (
        (Kept(kept.layers, by_scores, kept.groups), Kept(kept.layers, by_norms, kept.groups))
        if channels
        else (Kept(kept.layers, kept.channels, by_scores), Kept(kept.layers, kept.channels, by_norms))
    )
    return Cut(name, what, *both, ("the least of the output, by activations", "the smallest weights"))


def _choice(cut: Cut, gain: Fact, *, wins: bool) -> Choice:
    learnt, naive = cut.by
    told = f"{gain.value:.3g} nats/token ({gain.low:.3g} to {gain.high:.3g}) on held-out text"
    if wins:
        why = f"it loses less than {naive} would by {told}"
    else:
        why = f"{learnt} was not seen to lose less: by {told}"
    return Choice(f"prune.{cut.name}", f"without {cut.what}: {learnt if wins else naive}", why)


def _facts(
    before: Sequence[float],
    after: Sequence[float],
    texts: calibration.Calibration,
    model: Path,
    written: Mapping[str, Tensor],
) -> dict[str, Fact]:
    from .weights import Weights

    whole = Weights(model)
    had = sum(math.prod(whole.shape(name)) for name in whole)
    has = sum(tensor.numel() for tensor in written.values())
    labels = sum(text.labels for text in texts.held)
    n = len({text.group for text in texts.held})
    why = f"{labels} tokens of {len(texts.held)} {texts.source} held out from what importance was measured on"
    return {
        "model.parameters": Fact(float(has), "parameters"),
        "prune.removed": Fact(1 - has / had, "share", why=f"of {had:,} parameters"),
        "prune.loss_before": Fact(sum(before) / labels, UNIT, n=n, why=why),
        "prune.loss": Fact(sum(after) / labels, UNIT, n=n, why=why),
        "prune.loss_rise": difference(after, before, texts.held),
    }


def _write(
    tensors: dict[str, Tensor],
    config: Mapping[str, Any],
    model: Path,
    out: Path,
    size: Size,
    shape: Architecture,
) -> None:
    from safetensors.torch import save_file

    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) + (1 << 20)
    if (free := shutil.disk_usage(out).free) < needed:
        raise NoRoom(
            f"no room for the pruned model: it needs {needed >> 20} MiB, {free >> 20} are free",
            where=str(out),
            try_="free some disk space",
        )
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(_json(config), "utf-8")
    for name in COPIED:
        if (model / name).is_file():
            shutil.copyfile(model / name, out / name)
    base = json.loads((model / "base.json").read_text("utf-8"))
    left = (
        f"{size.layers} of {shape.layers} layers, {size.groups} of {shape.kv_heads} groups of heads, "
        f"{size.channels} of {shape.intermediate} channels of an MLP"
    )
    base["notes"] = [*base.get("notes", ()), f"pruned to {left}"]
    (out / "base.json").write_text(_json(base), "utf-8")


def _kept(kept: Kept) -> dict[str, Any]:
    """kept.json: the layers, and by layer the channels and groups, under the numbers of the whole model."""
    return {
        "layers": kept.layers,
        "channels": {str(layer): of for layer, of in kept.channels.items()},
        "groups": {str(layer): of for layer, of in kept.groups.items()},
    }


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
