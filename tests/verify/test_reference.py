"""verify.reference on a tiny model, with torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.verify.stage import record, workspace, write_rows

from modelyard.errors import RecordError, SourceError
from modelyard.prompt import Prompter
from modelyard.records.shapes import Fact, Inputs, Output
from modelyard.verify import forced, reference
from modelyard.verify.settings import ReferenceSettings

MADE = Fact(1.0, "MiB")


def run(
    candidate: Path, model: Path, corpus: Path, place: Path, items: int = 6, size: Fact = MADE
) -> tuple[Output, Path]:
    """The step's output, and its folder."""
    inputs = Inputs(
        {
            "candidate": (record("c", candidate, {"candidate.size_mib": size}),),
            "model": (record("m", model),),
            "corpus": (record("k", corpus),),
        }
    )
    space = workspace(place)
    return reference.run(ReferenceSettings(items=items), inputs, space), space.out


def test_the_unquantised_file_is_the_model_and_four_bits_diverge(
    convert: Callable[..., Path], model: Path, corpus: Path, tmp_path: Path
) -> None:
    exact, out = run(convert("F16"), model, corpus, tmp_path / "f16")
    assert exact.facts["parity.identity"].value == 0
    assert exact.facts["parity.kl"].value == pytest.approx(0, abs=1e-4)
    rough, _ = run(convert("Q4_0"), model, corpus, tmp_path / "q4")
    assert rough.facts["parity.identity"].value == 0
    kl = rough.facts["parity.kl"]
    assert kl.value is not None
    assert kl.low is not None
    assert kl.high is not None
    assert 1e-3 < kl.low <= kl.value <= kl.high
    items = forced.load(out / "forced.json")
    assert len(items) == 6
    assert all(len(item.answer) == len(item.logprobs) and max(item.logprobs) < 0 for item in items)


def test_log_probabilities_are_those_of_transformers(
    convert: Callable[..., Path], model: Path, corpus: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    _, out = run(convert("F16"), model, corpus, tmp_path / "f16")
    item = forced.load(out / "forced.json")[0]
    right = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.inference_mode():
        logits = right(torch.tensor([[*item.prompt, *item.answer]])).logits[0, len(item.prompt) - 1 : -1]
    told = logits.log_softmax(-1).gather(1, torch.tensor(item.answer)[:, None])[:, 0]
    assert item.logprobs == pytest.approx(told.tolist(), abs=0.02)  # half precision of the file


def test_the_same_inputs_give_the_same_bytes(
    convert: Callable[..., Path], model: Path, corpus: Path, tmp_path: Path
) -> None:
    _, first = run(convert("Q8_0"), model, corpus, tmp_path / "a")
    _, second = run(convert("Q8_0"), model, corpus, tmp_path / "b")
    for name in ("identity.json", "forced.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_file_of_another_model_is_told_and_not_run(
    convert: Callable[..., Path], model: Path, corpus: Path, tmp_path: Path
) -> None:
    from tests.tiny import tiny_model

    other = tiny_model(tmp_path / "other", seed=9)
    output, out = run(convert("Q8_0", other), model, corpus, tmp_path / "place")
    assert (output.facts["parity.identity"].value or 0) > 5
    assert output.facts["parity.kl"].value is None
    rows = json.loads((out / "identity.json").read_text())["differences"]
    assert rows[0]["what"].startswith("numbers of ")


def test_a_corpus_without_pairs_forces_the_next_words_of_its_documents(
    convert: Callable[..., Path], model: Path, corpus: Path, tmp_path: Path
) -> None:
    only = tmp_path / "corpus"
    only.mkdir()
    (only / "documents.jsonl").write_bytes((corpus / "documents.jsonl").read_bytes())
    output, out = run(convert("Q8_0"), model, only, tmp_path / "place", items=20)
    assert output.choices[0].value == "documents"
    items = forced.load(out / "forced.json")
    assert len(items) == 20
    assert {len(item.answer) for item in items} <= set(range(1, forced.CONTINUATION + 1))
    assert len({item.prompt for item in items}) >= 12


def test_an_empty_corpus_is_refused_before_anything_runs(
    convert: Callable[..., Path], model: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "documents.jsonl", [])
    with pytest.raises(SourceError, match="neither pairs nor documents"):
        run(convert("Q8_0"), model, tmp_path, tmp_path / "place")


def test_a_forced_answer_follows_its_prompt_as_in_tuning(corpus: Path, model: Path) -> None:
    prompter = Prompter(model)
    items, _ = forced.choose_forced(prompter, corpus, 5, seed=0)
    assert all(item.answer[-1] == prompter.end for item in items)
    assert prompter.decode(items[0].prompt).rstrip().endswith("assistant")


def test_forced_items_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "forced.json").write_text('{"items": [{"id": "a"}]}')
    with pytest.raises(RecordError, match="cannot be read"):
        forced.load(tmp_path / "forced.json")


def test_a_file_that_could_not_be_made_is_unmeasured_for_that_reason(
    model: Path, corpus: Path, tmp_path: Path
) -> None:
    why = "not made: the builder does not know falcon"
    output, out = run(model, model, corpus, tmp_path / "place", size=Fact(None, "MiB", why=why))
    for name in ("parity.identity", "parity.kl"):
        fact = output.facts[name]
        assert (fact.value, fact.why) == (None, why)
    assert forced.load(out / "forced.json")


def test_four_bits_forget_more_of_general_texts_than_half_precision(
    convert: Callable[..., Path], model: Path, corpus: Path, tmp_path: Path
) -> None:
    exact, _ = run(convert("F16"), model, corpus, tmp_path / "f16")
    rough, _ = run(convert("Q4_0"), model, corpus, tmp_path / "q4")
    same, other = exact.facts["forget.file"], rough.facts["forget.file"]
    assert same.n == other.n == reference.GENERAL_TEXTS
    assert abs(same.value or 1) < 0.001 < abs(other.value or 0)
