"""A pruned model is the model without what was taken out, and what is taken out is what matters least."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tests.optimize.stage import record
from tests.tiny import tiny_model

from modelyard.engines import gguf_file
from modelyard.errors import NoRoom, SourceError
from modelyard.optimize import architecture, calibration, prune, smaller
from modelyard.optimize import convert as conversion
from modelyard.optimize.settings import ConvertSettings, PruneSettings
from modelyard.prompt import Prompter
from modelyard.records.shapes import Inputs, Output, Workspace
from modelyard.verify import identity, weights

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from modelyard.optimize.importance import Kept, Probe  # noqa: E402 - needs torch

IDS = torch.tensor([[1, 85, 91, 286, 71, 40, 300, 12, 66]])


def write_corpus(folder: Path, count: int = 24) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "id": f"p{at}",
            "group": f"g{at % 8}",
            "question": f"Which default has p{at}?",
            "passage": f"The default of p{at} is {at % 10}.",
            "answer": str(at % 10),
        }
        for at in range(count)
    ]
    (folder / "pairs.train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus")


def change(folder: Path, edit: Callable[[dict[str, np.ndarray]], Any]) -> Path:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def pruned(model: Path, corpus: Path, into: Path, **told: Any) -> Output:
    """Run the step; its files are in `into`/out."""
    for name in ("out", "state"):
        (into / name).mkdir(parents=True)
    given = Inputs({"model": (record(model),), "corpus": (record(corpus),)})
    return prune.run(PruneSettings(**told), given, Workspace(into, 1, lambda *_, **__: None))


def logits(folder: Path) -> Any:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        return model.eval()(IDS).logits[0]


def kept(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "kept.json").read_text("utf-8"))
    return found


def by_hand(model: Path, mask: Callable[[Any], None]) -> Any:
    """The logits of the model after `mask` has changed it in memory."""
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    with torch.inference_mode():
        mask(loaded.model)
        return loaded(IDS).logits[0]


def test_a_pruned_model_is_bit_for_bit_the_model_with_those_layers_removed_by_hand(
    tmp_path: Path, corpus: Path
) -> None:
    model = tiny_model(tmp_path / "model", 3, layers=5)
    output = pruned(model, corpus, tmp_path / "work", layers=3)
    stay = kept(tmp_path / "work/out")["layers"]
    assert len(stay) == 3

    def remove(decoder: Any) -> None:
        decoder.layers = torch.nn.ModuleList(decoder.layers[layer] for layer in stay)

    assert torch.equal(logits(tmp_path / "work/out"), by_hand(model, remove))
    had = sum(tensor.size for tensor in load_file(model / "model.safetensors").values())
    has = sum(tensor.size for tensor in load_file(tmp_path / "work/out/model.safetensors").values())
    assert output.facts["model.parameters"].value == has
    assert output.facts["prune.removed"].value == pytest.approx(1 - has / had)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_narrower_model_computes_what_the_model_does_with_those_parts_masked(
    tmp_path: Path, corpus: Path, family: str, tied: bool
) -> None:
    model = tiny_model(tmp_path / "model", 4, layers=3, heads=8, kv_heads=4, tied=tied)
    if family == "qwen2":
        as_qwen2(model)
    pruned(model, corpus, tmp_path / "work", mlp=0.5, groups=2)
    stays = kept(tmp_path / "work/out")

    def mask(decoder: Any) -> None:
        for number, layer in enumerate(decoder.layers):
            gone = sorted(set(range(128)) - set(stays["channels"][str(number)]))
            layer.mlp.down_proj.weight[:, gone] = 0
            for group in set(range(4)) - set(stays["groups"][str(number)]):
                layer.self_attn.o_proj.weight[:, group * 16 : (group + 1) * 16] = 0  # two heads of 8

    found = logits(tmp_path / "work/out")
    assert (found - by_hand(model, mask)).abs().max() < 1e-5
    assert (found - logits(model)).abs().max() > 1e-2
    told = json.loads((tmp_path / "work/out/config.json").read_text("utf-8"))
    names = ("num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size")
    assert [told[name] for name in names] == [4, 2, 8, 64]


def as_qwen2(folder: Path) -> None:
    """The same weights as a Qwen2, with biases of q, k and v and a list of the layers' kinds."""
    path = folder / "config.json"
    told = json.loads(path.read_text("utf-8"))
    told |= {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": False}
    told["layer_types"] = ["full_attention"] * told["num_hidden_layers"]
    path.write_text(json.dumps(told), "utf-8")
    random = np.random.default_rng(0)

    def biases(tensors: dict[str, np.ndarray]) -> None:
        for name in [
            name for name in tensors if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight"))
        ]:
            size = len(tensors[name])
            tensors[name.replace("weight", "bias")] = random.standard_normal(size).astype(np.float32)

    change(folder, biases)


def test_a_qwen2_loses_a_layers_kind_and_biases_with_the_layer(tmp_path: Path, corpus: Path) -> None:
    model = tiny_model(tmp_path / "model", 4, layers=4)
    as_qwen2(model)
    pruned(model, corpus, tmp_path / "work", layers=2)
    stay = kept(tmp_path / "work/out")["layers"]
    assert (
        json.loads((tmp_path / "work/out/config.json").read_text("utf-8"))["layer_types"]
        == ["full_attention"] * 2
    )
    before, after = (load_file(at / "model.safetensors") for at in (model, tmp_path / "work/out"))
    for new, old in enumerate(stay):
        name = "model.layers.{}.self_attn.k_proj.bias"
        assert np.array_equal(after[name.format(new)], before[name.format(old)])


IDLE_LAYER, IDLE_GROUP, IDLE_CHANNELS = 1, 2, list(range(0, 64, 2))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned its text although a layer, a group and channels of each layer do nothing.

    Their weights are the largest; only what would carry their part out is nought.
    """
    folder = tiny_model(tmp_path_factory.mktemp("learned"), 1, hidden=96, layers=4, heads=8, kv_heads=4)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    group = slice(IDLE_GROUP * 24, (IDLE_GROUP + 1) * 24)  # two heads of 12
    prompter = Prompter(folder)
    rows = [f"The default of p{at} is {at}. Raises ValueError when p{at} is missing." for at in range(24)]
    texts = [torch.tensor([prompter.encode(row)]) for row in rows]
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    layers = model.model.layers

    def idle() -> None:
        with torch.no_grad():
            layers[IDLE_LAYER].self_attn.o_proj.weight.zero_()
            layers[IDLE_LAYER].mlp.down_proj.weight.zero_()
            for layer in layers:
                layer.self_attn.o_proj.weight[:, group] = 0
                layer.mlp.down_proj.weight[:, IDLE_CHANNELS] = 0

    for step in range(96):
        idle()
        loss = model(texts[step % 24], labels=texts[step % 24]).loss
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        for layer in layers:
            layer.self_attn.q_proj.weight[group] *= 9
            layer.mlp.gate_proj.weight[IDLE_CHANNELS] *= 9
    idle()
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    documents = [{"id": f"d{at}", "text": row} for at, row in enumerate(rows)]
    corpus = folder / "documents.jsonl"
    corpus.write_text("".join(json.dumps(row) + "\n" for row in documents), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "told", "naive"),
    [
        ("layers", {"layers": 3}, "the last layers"),
        ("mlp", {"mlp": 0.75}, "the smallest weights"),
        ("groups", {"groups": 3}, "the smallest weights"),
    ],
)
def test_importance_finds_what_does_nothing_however_large_its_weights(
    learned: Path, tmp_path: Path, name: str, told: dict[str, Any], naive: str
) -> None:
    output = pruned(learned, learned, tmp_path / "work", **told)
    stay = kept(tmp_path / "work/out")
    assert (IDLE_LAYER in stay["layers"]) is (name != "layers")
    for layer in {"0", "2", "3"}:
        if name == "mlp":
            assert stay["channels"][layer] == sorted(set(range(128)) - set(IDLE_CHANNELS))
        if name == "groups":
            assert stay["groups"][layer] == sorted(set(range(4)) - {IDLE_GROUP})
    gain, rise = output.facts[f"prune.gain.{name}"], output.facts["prune.loss_rise"]
    assert gain.low is not None
    assert gain.low > 0
    assert rise.value == pytest.approx(0, abs=1e-4)
    (choice,) = output.choices
    assert choice.name == f"prune.{name}"
    assert naive in choice.why
    assert naive not in choice.value


def test_importance_that_was_not_seen_to_win_is_not_used(tmp_path: Path, corpus: Path) -> None:
    def last_idle(tensors: dict[str, np.ndarray]) -> None:
        for name in ("self_attn.o_proj", "mlp.down_proj"):
            tensors[f"model.layers.3.{name}.weight"][:] = 0

    model = change(tiny_model(tmp_path / "model", 1, layers=4), last_idle)
    output = pruned(model, corpus, tmp_path / "work", layers=3)
    (choice,) = output.choices
    assert output.facts["prune.gain.layers"].value == 0  # both take the last
    assert "the last layers" in choice.value
    assert "not seen to lose less" in choice.why
    assert output.facts["prune.loss_rise"].value == pytest.approx(0, abs=1e-5)


def test_the_loss_is_that_of_the_written_model_on_text_that_importance_did_not_see(
    tmp_path: Path, corpus: Path
) -> None:
    model = tiny_model(tmp_path / "model", 2, layers=4, heads=8, kv_heads=4)
    output = pruned(model, corpus, tmp_path / "work", layers=3, mlp=0.5, groups=1)
    texts = calibration.gather(corpus, Prompter(model), 32, seed=0)
    out = tmp_path / "work/out"
    shape = architecture.read(json.loads((out / "config.json").read_text("utf-8")))
    labels = sum(text.labels for text in texts.held)
    for folder, name, one in (
        (out, "prune.loss", shape),
        (
            model,
            "prune.loss_before",
            architecture.read(json.loads((model / "config.json").read_text("utf-8"))),
        ),
    ):
        asked = Probe(folder, one).losses(texts.held, Kept(tuple(range(one.layers))))
        assert output.facts[name].value == pytest.approx(sum(asked) / labels, rel=1e-4)
    assert {text.group for text in texts.measured}.isdisjoint({text.group for text in texts.held})
    assert {choice.name for choice in output.choices} == {"prune.layers", "prune.mlp", "prune.groups"}


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_what_stays_of_any_model_has_the_shapes_that_its_config_tells(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kv, layers = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    folder = tiny_model(tmp_path_factory.mktemp("m"), heads=2 * kv, kv_heads=kv, hidden=48, layers=layers)
    shape = architecture.read(json.loads((folder / "config.json").read_text("utf-8")))

    def some(count: int, size: int) -> tuple[int, ...]:
        return tuple(sorted(data.draw(st.permutations(range(count)))[:size]))

    stay = some(layers, data.draw(st.integers(1, layers)))
    width, groups = data.draw(st.integers(1, 128)), data.draw(st.integers(1, kv))
    one = Kept(stay, {at: some(128, width) for at in stay}, {at: some(kv, groups) for at in stay})
    told = smaller.config(json.loads((folder / "config.json").read_text("utf-8")), shape, one)
    found = {name: tuple(t.shape) for name, t in smaller.tensors(folder, shape, one).items()}
    assert found == architecture.read(told).expected()
    shutil.rmtree(folder)


def test_documents_calibrate_where_there_are_no_pairs_and_too_little_text_is_refused(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model", 1, layers=3)
    folder = tmp_path / "documents"
    folder.mkdir()
    rows = [{"id": f"d{at}", "text": f"The default of p{at} is {at}. " * 4} for at in range(12)]
    path = folder / "documents.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    for name in ("pairs.select.jsonl", "pairs.report.jsonl"):
        (folder / name).write_text("this is never read\n", "utf-8")
    output = pruned(model, folder, tmp_path / "work", layers=2)
    assert "documents" in output.facts["prune.loss"].why
    path.write_text(json.dumps(rows[0]) + "\n", "utf-8")
    with pytest.raises(SourceError, match="too little text to prune by"):
        pruned(model, folder, tmp_path / "few", layers=2)


def test_texts_of_one_group_alone_are_split_text_by_text(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    path = corpus / "pairs.train.jsonl"
    rows = [json.loads(line) | {"group": "one"} for line in path.read_text("utf-8").splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    found = calibration.gather(corpus, Prompter(tiny_model(tmp_path / "model")), 32, seed=0)
    assert len(found.measured) == len(found.held) == 12
    assert not set(found.measured) & set(found.held)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"layers": 4}, "removes none"),
        ({"layers": 9}, "the model has 4 layers"),
        ({"mlp": 0.1}, "nothing would be left"),
        ({"mlp": 0.99}, "nothing removed"),
        ({"groups": 1}, "cannot be cut down to 1"),
        ({"groups": 7}, "cannot be cut down to 7"),
    ],
)
def test_a_size_that_the_model_cannot_have_is_refused(
    tmp_path: Path, corpus: Path, told: dict[str, Any], says: str
) -> None:
    with pytest.raises(SourceError, match=says) as error:
        pruned(tiny_model(tmp_path / "model", layers=4), corpus, tmp_path / "work", **told)
    assert error.value.where.startswith("release.search.prune: ")
    assert error.value.try_


def test_an_unknown_architecture_and_a_full_disk_are_refused(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(tmp_path / "model", layers=3)
    path = model / "config.json"
    told = json.loads(path.read_text("utf-8"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))  # type: ignore[attr-defined]
    with pytest.raises(NoRoom, match="pruned model"):
        pruned(model, corpus, tmp_path / "full", layers=2)
    path.write_text(json.dumps(told | {"architectures": ["GPT2LMHeadModel"]}), "utf-8")
    with pytest.raises(SourceError, match="GPT2LMHeadModel"):
        pruned(model, corpus, tmp_path / "unknown", layers=2)
    with pytest.raises(ValueError, match="layers, mlp or groups"):
        PruneSettings()


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_0"])
def test_the_files_of_a_pruned_model_are_that_model_and_their_recipe_names_the_chain(
    tmp_path: Path, corpus: Path, kind: str
) -> None:
    model = tiny_model(tmp_path / "model", 6, layers=4, heads=8, kv_heads=4)
    pruned(model, corpus, tmp_path / "work", layers=3, mlp=0.5, groups=2)
    out, place = tmp_path / "work/out", tmp_path / "file"
    for name in ("out", "state"):
        (place / name).mkdir(parents=True)
    told = ConvertSettings.model_validate({"file": f"gguf {kind}", "chain": ["3 layers", "distilled"]})
    given = Inputs({"model": (record(out),), "tuned": (record(model),)})
    conversion.run(told, given, Workspace(place, 1, lambda *_, **__: None))
    path = place / "out/model.gguf"
    assert identity.differences(path, out) == []
    assert identity.differences(path, model)
    assert weights.compare(path, out, kind) == []
    assert gguf_file.header(path).metadata["llama.attention.key_length"] == 8
    recipe = json.loads((place / "out/recipe.json").read_text("utf-8"))
    assert recipe["chain"] == ["3 layers", "distilled"]
    assert recipe["tuned"] == "d" * 64
    notes = json.loads((place / "out/base.json").read_text("utf-8"))["notes"]
    assert "3 of 4 layers, 2 of 4 groups of heads, 64 of 128 channels" in notes[-1]
