"""A byte-level BPE tokenizer as GGUF's metadata: tokens, merges, pre-tokenizer, special ids, template."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SourceError

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # llama.cpp's llama_token_type

# How llama.cpp names a split of text into words, by the regular expression in tokenizer.json
# (llama.cpp, src/llama-vocab.cpp, llm_tokenizer_bpe).
SPLITS = {
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+": "llama-bpe",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+": "qwen2",
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What `tokenizer.ggml.*` holds."""

    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    ids: dict[str, int]  # "bos", "eos", "unk", "pad" where the tokenizer names them
    add_bos: bool
    template: str


def read(folder: Path, size: int) -> Vocabulary:
    """The vocabulary of a model's folder, filled up with unused tokens to the model's `size`.

    Raises SourceError for a tokenizer that llama.cpp would read otherwise than `tokenizers` does.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    try:
        data = json.loads(path.read_text("utf-8"))
        config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        template = (folder / "chat_template.jinja").read_text("utf-8")
        tokenizer = Tokenizer.from_str(json.dumps(data))
    except FileNotFoundError as error:
        raise SourceError(f"the model has no {Path(error.filename).name}", where=str(folder)) from None
    except ValueError as error:
        raise SourceError(f"the tokenizer cannot be read: {error}", where=str(folder)) from None
    except Exception as error:  # tokenizers raises just that for any damaged file
        if type(error) is not Exception:
            raise
        raise SourceError(f"the tokenizer cannot be read: {error}", where=str(path)) from None
    model = data["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise SourceError(
            f"the tokenizer is not a byte-level BPE but {model.get('type')}",
            where=str(path),
            try_="a base model with a GPT-2 kind of tokenizer, such as SmolLM2, Llama 3 or Qwen2",
        )
    tokens, types = _tokens(data, size, path)
    ids = {}
    for short, name in (
        ("bos", "bos_token"),
        ("eos", "eos_token"),
        ("unk", "unk_token"),
        ("pad", "pad_token"),
    ):
        token = config.get(name)
        text = token["content"] if isinstance(token, dict) else token
        found = tokenizer.token_to_id(text) if text else None
        if found is not None:
            ids[short] = int(found)
    if "eos" not in ids:
        raise SourceError("the tokenizer has no end-of-answer token", where=str(folder))
    begin = tokenizer.encode("", add_special_tokens=True).ids
    return Vocabulary(
        pre=pre_tokenizer(data, path),
        tokens=tokens,
        types=types,
        merges=tuple(merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]),
        ids=ids,
        add_bos=bool(begin) and begin[0] == ids.get("bos"),
        template=template,
    )


def pre_tokenizer(data: dict[str, Any], where: Path) -> str:
    """llama.cpp's name of the tokenizer's split into words. Raises SourceError where it has none."""
    outer = data.get("pre_tokenizer") or {}
    parts = outer.get("pretokenizers", []) if outer.get("type") == "Sequence" else [outer]
    kinds = [part.get("type") for part in parts]
    plain = not any(part.get("add_prefix_space") for part in parts)
    found = None
    if plain and kinds == ["ByteLevel"] and parts[0].get("use_regex", True):
        found = "gpt-2"
    elif plain and kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits"):
        found = "smollm" if parts[1].get("use_regex", True) else None
    elif plain and kinds == ["Split", "ByteLevel"] and not parts[1].get("use_regex", True):
        isolated = parts[0].get("behavior") == "Isolated" and not parts[0].get("invert")
        found = SPLITS.get(parts[0].get("pattern", {}).get("Regex", "")) if isolated else None
    if found is None:
        raise SourceError(
            f"llama.cpp has no name for this tokenizer's split into words ({', '.join(map(str, kinds))})",
            where=str(where),
            try_=f"a tokenizer of the kind {', '.join(['gpt-2', 'smollm', *SPLITS.values()])}",
        )
    return found


def _tokens(data: dict[str, Any], size: int, path: Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
    tokens: list[str | None] = [None] * size
    types = [UNUSED] * size
    entries = [(text, at, NORMAL) for text, at in data["model"]["vocab"].items()]
    entries += [
        (token["content"], token["id"], CONTROL if token["special"] else USER_DEFINED)
        for token in data.get("added_tokens", ())
    ]
    for text, at, kind in entries:
        if not 0 <= at < size:
            raise SourceError(
                f"the tokenizer has a token {at}, the model an embedding of {size}",
                where=str(path),
                try_="the tokenizer that belongs to the model",
            )
        tokens[at], types[at] = text, kind
    return tuple(text if text is not None else f"[PAD{at}]" for at, text in enumerate(tokens)), tuple(types)
