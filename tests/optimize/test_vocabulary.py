"""llama.cpp reads text into the same tokens as the tokenizer that came with the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.optimize.stage import convert
from tests.tiny import tiny_model
from tokenizers import Tokenizer

from modelyard.errors import SourceError
from modelyard.optimize import vocabulary

TEXTS = (
    "Which value does timeout have? 1234567 words, 3.14; can't they'LL",
    "  two  spaces\n\n\tand\r\nlines \n end ",
    "中文和 English 混排，第10页。 é ü ß 🙂",
    "<|im_start|>user\nx = f(30)\n<|im_end|>\n",
)
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
PLAIN = {**BYTES, "use_regex": False}


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


LLAMA3, QWEN2 = vocabulary.SPLITS
KINDS = {
    "gpt-2": BYTES,
    "smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTES]},
    "llama-bpe": {"type": "Sequence", "pretokenizers": [split(LLAMA3), PLAIN]},
    "qwen2": {"type": "Sequence", "pretokenizers": [split(QWEN2), PLAIN]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_llamacpp_splits_text_as_the_tokenizer_does(tmp_path: Path, kind: str) -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    model = tiny_model(tmp_path / "model", 0)
    path = model / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"pre_tokenizer": KINDS[kind]}), "utf-8")
    assert vocabulary.read(model, 320).pre == kind
    convert(model, tmp_path / "work", "F16")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(tmp_path / "work/out/model.gguf")
    parameters.n_ctx, parameters.verbosity, parameters.warmup = 512, -1, False
    server = xllamacpp.Server(parameters)
    tokenizer = Tokenizer.from_file(str(path))
    for text in TEXTS:
        right = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokens(server.listening_address, text) == right, text


def tokens(address: str, text: str) -> list[int]:
    """llama.cpp's tokens of a text."""
    from urllib.request import Request, urlopen

    body = json.dumps({"content": text, "add_special": False, "parse_special": True}).encode()
    with urlopen(Request(f"{address}/tokenize", body, {"Content-Type": "application/json"})) as answer:
        found: list[int] = json.load(answer)["tokens"]
    return found


@pytest.mark.parametrize(
    "outer",
    [
        None,
        {"type": "Metaspace"},
        {**BYTES, "add_prefix_space": True},
        {"type": "Sequence", "pretokenizers": [split("[a-z]+"), PLAIN]},
        {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": False}, BYTES]},
    ],
)
def test_a_split_without_a_name_is_refused_rather_than_guessed(outer: Any) -> None:
    with pytest.raises(SourceError, match="smollm"):
        vocabulary.pre_tokenizer({"pre_tokenizer": outer}, Path("tokenizer.json"))


def test_a_larger_embedding_is_filled_up_with_unused_tokens(tmp_path: Path) -> None:
    found = vocabulary.read(tiny_model(tmp_path / "model", 0), 325)
    assert found.tokens[320:] == tuple(f"[PAD{at}]" for at in range(320, 325))
    assert set(found.types[320:]) == {vocabulary.UNUSED}
    assert found.types[:4] == (vocabulary.CONTROL,) * 3 + (vocabulary.NORMAL,)
    assert found.ids == {"bos": 1, "eos": 2, "unk": 0, "pad": 2}
    assert not found.add_bos
