"""What else can be trained, and on what: all weights, documents, mixtures, preferences, a teacher's words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from tests.tiny import tiny_model
from tests.train.stage import TRAIN, inputs, pair, record, write_corpus
from transformers import AutoModelForCausalLM

from modelyard.errors import SourceError
from modelyard.prompt import Prompter
from modelyard.records.shapes import Inputs, Output, Workspace
from modelyard.train import budget, loop, reference, samples, tune
from modelyard.train.head import Head, Taught
from modelyard.train.material import gather
from modelyard.train.packing import Mixture, Order, steps
from modelyard.train.samples import Item
from modelyard.train.settings import Lora, Method, Train, TuneSettings
from modelyard.train.step import Step


def settings(**changed: Any) -> TuneSettings:
    return TuneSettings.model_validate({"train": TRAIN | {"budget": {"tokens": 9000}} | changed})


def work(folder: Path) -> Workspace:
    (folder / "out").mkdir(parents=True)
    (folder / "state").mkdir()
    return Workspace(folder, 1, lambda *_, **__: None)


def facts(output: Output) -> dict[str, float | None]:
    return {name: fact.value for name, fact in output.facts.items()}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of two sources, some with a rejected answer, and a document of a third."""
    folder = tmp_path_factory.mktemp("mixed")
    rows = [pair(number) for number in range(40)]
    for number, row in enumerate(rows):
        row["source"] = "first" if number < 30 else "second"
        if number % 2:
            row["rejected"] = f"not {(number + 1) % 10}"
    write_corpus(folder, rows)
    text = "The limit of a call is 30. The timeout of a call is 10. " * 40
    rows = [{"id": f"d{number}", "source": "docs", "text": text} for number in range(2)]
    (folder / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return folder


def test_full_tuning_changes_every_weight_and_lowers_the_loss(
    base: Path, corpus: Path, workspace: Workspace
) -> None:
    output = tune.run(settings(method={"full": {}}, learning_rate=2e-3), inputs(corpus, base), workspace)
    told = facts(output)
    assert told["train.loss_last"] < 0.6 * told["train.loss_first"]  # type: ignore[operator]
    assert told["train.parameters"] == told["model.parameters"]
    assert {choice.name: choice.value for choice in output.choices}["train.step"] == "explicit"
    before, after = load_file(base / "model.safetensors"), load_file(workspace.out / "model.safetensors")
    assert set(before) == set(after)
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert not (workspace.out / "adapter").exists()
    AutoModelForCausalLM.from_pretrained(workspace.out)


def test_what_a_file_holds_besides_parameters_stays_and_a_second_name_of_the_embedding_is_the_embedding(
    corpus: Path, tmp_path: Path
) -> None:
    base = tiny_model(tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    table = tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.rand(16)
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    told = settings(method={"full": {}}, budget={"tokens": 600})
    tune.run(told, inputs(corpus, base), work(tmp_path / "w"))
    made = load_file(tmp_path / "w" / "out" / "model.safetensors")
    assert torch.equal(made["model.layers.0.self_attn.rotary_emb.inv_freq"], table)
    assert torch.equal(made["lm_head.weight"], made["model.embed_tokens.weight"])
    assert not torch.equal(made["lm_head.weight"], tensors["lm_head.weight"])


def test_full_tuning_by_autograd_ends_nearly_where_the_explicit_step_does(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings(method={"full": {}}, learning_rate=2e-3, budget={"tokens": 3000})
    ends = []
    for name in ("explicit", "autograd"):
        if name == "autograd":
            monkeypatch.setattr("modelyard.train.choose_step.unknown", lambda *_: "it is not to be used")
        output = tune.run(asked, inputs(corpus, base), work(tmp_path / name))
        assert {choice.name: choice.value for choice in output.choices}["train.step"] == name
        ends.append(load_file(tmp_path / name / "out" / "model.safetensors"))
    for name, ours in ends[0].items():
        torch.testing.assert_close(ours, ends[1][name], rtol=1e-2, atol=2e-3)


def test_a_preferred_answer_becomes_likelier_than_the_rejected_one(
    base: Path, mixed: Path, workspace: Workspace
) -> None:
    asked = settings(preference={"beta": 0.5}, learning_rate=5e-3, sequence_tokens=1024, batch_tokens=1024)
    output = tune.run(asked, inputs(mixed, base), workspace)
    told = facts(output)
    assert output.facts["train.loss_first"].unit == "nats/pair"
    assert told["train.loss_last"] < 0.3 < 0.5 < told["train.loss_first"] < 0.75  # type: ignore[operator]
    # log 2 before anything is learned: the reference is the model itself
    assert json.loads((workspace.out / "loss.json").read_text())["loss"][0] == pytest.approx(0.6931, abs=2e-3)
    left_out = {choice.name: choice for choice in output.choices}["train.empty"]
    assert left_out.value == "20 pairs left out"
    assert "no rejected answer" in left_out.why


def test_a_short_preference_run_asks_the_untuned_model_of_what_it_takes_and_a_resumed_one_of_nothing(
    base: Path, mixed: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, right = list[int](), reference.ask

    def ask(step: Step, items: Sequence[Item]) -> list[list[float]]:
        asked.append(len(items))
        return right(step, items)

    told = settings(preference={}, sequence_tokens=512, batch_tokens=512, budget={"tokens": 600})
    monkeypatch.setattr(reference, "ask", ask)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train", lambda run: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tune.run(told, inputs(mixed, base), workspace)
    assert 0 < sum(asked) < 10  # of twenty
    asked.clear()
    tune.run(told, inputs(mixed, base), workspace)
    assert asked == []


def test_what_is_asked_first_counts_as_part_of_the_minutes() -> None:
    speed = budget.Speed(100.0, 1.0)
    assert budget.tokens(10, speed, 0.0) == 57_000  # a twentieth is kept back
    assert budget.tokens(10, speed, 0.0, 0.01, 1_000_000) == 28_500
    assert budget.tokens(10, speed, 0.0, 0.01, 7_000) == 50_000  # the second time they are known


def test_a_preference_learns_the_two_answers_and_nothing_before_them(base: Path) -> None:
    prompter = Prompter(base)
    right, wrong = samples.of_preference(prompter, pair(3) | {"rejected": "4"})
    (plain,) = samples.of_pair(prompter, pair(3))
    assert right == plain
    assert wrong.ids[:-2] == right.ids[:-2]
    assert [token for token, learn in zip(wrong.ids, wrong.learn, strict=True) if learn] == [
        *prompter.encode("4"),
        prompter.end,
    ]


def test_a_student_comes_nearer_to_its_teacher_than_the_labels_bring_it(
    base: Path, corpus: Path, tmp_path: Path
) -> None:
    teacher = tiny_model(tmp_path / "teacher", seed=5, hidden=96, heads=3, layers=3)
    tuned = tune.run(
        settings(method={"full": {}}, learning_rate=3e-3), inputs(corpus, teacher), work(tmp_path / "t")
    )
    assert tuned.facts["train.loss_last"].value
    wise = tmp_path / "t" / "out"
    (tmp_path / "t" / "out" / "base.json").write_text("{}")
    found = []
    for share in (0.001, 1.0):
        folder = tmp_path / f"s{share}"
        roles = {**inputs(corpus, base).records, "teacher": (record("train.base", wise),)}
        asked = settings(distil={"teacher": "wise", "share": share}, learning_rate=2e-2)
        tune.run(asked, Inputs(roles), work(folder))
        found.append(apart(wise, folder / "out", base, corpus))
    assert found[1] < 0.8 * found[0]


def apart(teacher: Path, student: Path, base: Path, corpus: Path) -> float:
    """KL(teacher || student) at the first word of every answer."""
    models = [
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) for folder in (teacher, student)
    ]
    total = 0.0
    for number in range(20):
        (one,) = samples.of_pair(Prompter(base), pair(number))
        prompt = torch.tensor([one.ids[: one.learn.index(True)]])
        with torch.no_grad():
            told, own = (model(prompt).logits[0, -1].log_softmax(-1) for model in models)
        total += float((told.exp() * (told - own)).sum())
    return total / 20


def test_a_teacher_whose_head_is_padded_teaches_as_without(base: Path, corpus: Path, tmp_path: Path) -> None:
    losses = []
    for rows in (0, 8):
        teacher = tiny_model(tmp_path / f"teacher{rows}", seed=5)
        pad(teacher, rows)
        roles = {**inputs(corpus, base).records, "teacher": (record("train.base", teacher),)}
        asked = settings(distil={"teacher": "x"}, budget={"tokens": 600})
        losses.append(facts(tune.run(asked, Inputs(roles), work(tmp_path / f"w{rows}")))["train.loss_last"])
    assert losses[0] == losses[1]


def pad(folder: Path, rows: int) -> None:
    """Give a tiny model's head more rows, that no token has."""
    config = json.loads((folder / "config.json").read_text())
    config["vocab_size"] += rows
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    name = "model.embed_tokens.weight"
    tensors[name] = torch.cat([tensors[name], torch.ones(rows, tensors[name].shape[1])])
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_a_teacher_gives_no_chance_to_rows_that_pad_the_students_head() -> None:
    torch.manual_seed(0)
    own, hidden, told = torch.randn(40, 8), torch.randn(5, 8, requires_grad=True), torch.randn(5, 6)
    head, labels = Head(torch.randn(32, 6), None), torch.tensor([1, 30, 2, 8, 9])
    losses, gradient = Head(own, None).losses_and_gradient(
        hidden.detach(), labels, taught=Taught(told, head, 0.7, 2.0)
    )
    logits = hidden @ own.t()
    q = torch.softmax(told @ head.weight.t() / 2, -1)
    log_p = torch.log_softmax(logits / 2, -1)[:, :32]
    wanted = 0.3 * torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    wanted = wanted + 0.7 * 4 * (q * (q.log() - log_p)).sum(1)
    torch.testing.assert_close(losses, wanted.detach())
    (theirs,) = torch.autograd.grad(wanted.sum(), hidden)
    torch.testing.assert_close(gradient, theirs, rtol=1e-4, atol=1e-5)


def test_a_teacher_of_other_words_is_refused(base: Path, corpus: Path, tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "other")
    told = json.loads((other / "tokenizer.json").read_text())
    vocabulary = told["model"]["vocab"]
    first, second = list(vocabulary)[10:12]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(told))
    roles = {**inputs(corpus, base).records, "teacher": (record("train.base", other),)}
    with pytest.raises(SourceError, match="knows other words"):
        tune.run(settings(distil={"teacher": "other"}), Inputs(roles), work(tmp_path / "w"))


def test_documents_are_learned_whole_in_pieces_that_fit(
    base: Path, mixed: Path, workspace: Workspace
) -> None:
    asked = settings(mixture={"docs": 1.0}, sequence_tokens=64)
    material = gather(mixed, Prompter(base), asked.train, 1 << 30)
    text = json.loads((mixed / "documents.jsonl").read_text().splitlines()[0])["text"]
    prompter = Prompter(base)
    whole = [token for (one,) in material.found.kept[: len(material.found.kept) // 2] for token in one.ids]
    assert whole == prompter.encode(prompter.special["bos_token"] + text)
    assert all(len(one) <= 64 and one.labels == len(one) - 1 for (one,) in material.found.kept)
    told = facts(tune.run(asked, inputs(mixed, base), workspace))
    assert told["train.loss_last"] < 0.7 * told["train.loss_first"]  # type: ignore[operator]


def test_a_mixture_takes_of_each_source_its_share(base: Path, mixed: Path) -> None:
    train = settings(mixture={"first": 1, "docs": 3}).train
    material = gather(mixed, Prompter(base), train, 1 << 30)
    order = Order(0, 512, 256, 1, material.mixture)
    taken: Counter[str] = Counter()
    for step, _ in zip(steps(material.found.lengths, order), range(60), strict=False):
        for number in (number for row in step for number in row):
            taken[material.found.sources[number]] += material.found.lengths[number]
    assert set(taken) == {"first", "docs"}
    assert taken["docs"] / taken["first"] == pytest.approx(3, rel=0.05)


@few(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 2)), min_size=3, max_size=30),
    st.lists(st.floats(0.1, 5), min_size=3, max_size=3),
    st.integers(0, 9),
)
def test_any_mixture_is_repeated_exactly_and_comes_near_its_weights(
    told: list[tuple[int, int]], weights: list[float], seed: int
) -> None:
    told = [*told, (7, 0), (7, 1), (7, 2)]  # every source has something
    lengths, sources = [length for length, _ in told], tuple(source for _, source in told)
    order = Order(seed, 60, 60, 1, Mixture(sources, tuple(weights)))
    first = [step for step, _ in zip(steps(lengths, order), range(80), strict=False)]
    assert first == [step for step, _ in zip(steps(lengths, order), range(80), strict=False)]
    taken = [0, 0, 0]
    for step in first:
        for number in (number for row in step for number in row):
            taken[sources[number]] += lengths[number]
    for source, weight in enumerate(weights):
        wanted = sum(taken) * weight / sum(weights)
        assert abs(taken[source] - wanted) <= 3 * 50 + 60


def test_a_source_of_the_mixture_without_anything_to_learn_is_named(base: Path, mixed: Path) -> None:
    train = settings(mixture={"first": 1, "firts": 1}).train
    with pytest.raises(SourceError, match="'firts', which has nothing to learn from") as raised:
        gather(mixed, Prompter(base), train, 1 << 30)
    assert "first" in raised.value.try_


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ({"method": {"lora": {}, "full": {}}}, "one of the two"),
        ({"method": {"full": {}}, "preference": {}}, "needs lora"),
        ({"distil": {"teacher": "x"}, "preference": {}}, "one of the two"),
        ({"mixture": {"a": 0}}, "above zero"),
        ({"mixture": {}}, "a source at least"),
    ],
)
def test_what_does_not_go_together_is_refused(told: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        Train.model_validate(told)


def test_the_rate_follows_the_method_unless_it_is_given() -> None:
    assert Train().rate == Train.model_validate({"method": {}}).rate == 2e-3
    assert Train.model_validate({"method": {"full": {}}}).rate == 1e-4
    assert Train.model_validate({"preference": {}}).rate == 1e-4
    assert Train.model_validate({"preference": {}, "learning_rate": 3e-4}).rate == 3e-4
    assert Train.model_validate({"method": {}}).method == Method(lora=Lora())
