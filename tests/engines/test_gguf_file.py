"""What a GGUF file says is read whole or refused, never half believed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.engines import gguf_file
from modelyard.engines.pieces import Pieces, byte_letters
from modelyard.errors import SourceError


def test_the_header_agrees_with_the_gguf_package(files: dict[str, Path]) -> None:
    from gguf import GGUFReader

    for path in files.values():
        theirs = GGUFReader(path)
        ours = gguf_file.header(path)
        fields = {k: f.contents() for k, f in theirs.fields.items() if not k.startswith("GGUF.")}
        assert ours.metadata == fields
        for tensor in theirs.tensors:
            mine = ours.tensors[tensor.name]
            assert (mine.type, mine.offset, mine.size) == (
                tensor.tensor_type.name,
                tensor.data_offset,
                tensor.n_bytes,
            )
            assert mine.shape == tuple(int(n) for n in tensor.shape[::-1])


def test_the_config_says_what_the_file_says(files: dict[str, Path]) -> None:
    found = gguf_file.config(files["Q4_0"])
    assert found["rope_parameters"] == {"rope_type": "default", "rope_theta": 100_000.0}
    assert found["rms_norm_eps"] == pytest.approx(1e-5)
    assert (found["num_attention_heads"], found["num_key_value_heads"], found["head_dim"]) == (2, 1, 32)
    assert (found["vocab_size"], found["eos_token_id"], found["tie_word_embeddings"]) == (320, 2, True)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(0, 12_000),
    change=st.binary(min_size=1, max_size=12),
    cut=st.integers(0, 200_000) | st.none(),
)
def test_any_change_to_the_header_is_read_or_refused_clearly(
    files: dict[str, Path], tmp_path: Path, at: int, change: bytes, cut: int | None
) -> None:
    content = bytearray(files["F16"].read_bytes())
    content[at : at + len(change)] = change
    path = tmp_path / "changed.gguf"
    path.write_bytes(content[:cut])
    with suppress(SourceError):  # and no other error
        gguf_file.config(path)


def test_bytes_fall_back_into_the_tokens_that_spelt_them(files: dict[str, Path]) -> None:
    pieces = Pieces(files["F16"])
    of = {byte: pieces.id(bytes([byte])) for byte in range(256)}
    spelt = "中".encode()
    ids = [of[byte] for byte in spelt]
    assert pieces.split("中", 2, ids[2:]) == ids
    assert pieces.split("中", 1, ids[2:]) is None  # no token spells the first two bytes
    assert pieces.split("\N{REPLACEMENT CHARACTER}", 1, [of[0x41]]) is None
    assert len(byte_letters()) == len(set(byte_letters().values())) == 256


def test_what_can_be_spelt_in_two_ways_is_not_guessed(files: dict[str, Path]) -> None:
    pieces = Pieces(files["F16"])
    both = pieces.id(b"st")
    assert both
    assert pieces.split("sts", 2, []) is None or pieces.split("sts", 2, []) == [both, pieces.id(b"s")]
    tokens = pieces._bytes
    pairs = {a + b for a in tokens.values() if len(a) == 1 for b in tokens.values() if len(b) == 2}
    twice = {a + b for a in tokens.values() if len(a) == 2 for b in tokens.values() if len(b) == 1} & pairs
    for spelt in sorted(twice)[:5]:
        assert pieces.split(spelt.decode(), 2, []) is None
