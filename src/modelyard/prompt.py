"""One way to put a question and its passage before a model, for tuning, measuring, `try` and serving."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import SourceError

NOT_STATED = "NOT STATED"

GROUNDED = (
    "Answer the question with the exact words of the passage. "
    f"If the passage does not state the answer, write {NOT_STATED}."
)

UNFINISHED = "\ufffd"  # what bytes that are no whole character decode to
LONGEST_CHARACTER = 4  # bytes in UTF-8, and so tokens

Message = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Turn:
    """Token ids of a piece of a conversation; `learn` is true where the model is to write them."""

    ids: tuple[int, ...]
    learn: bool


def ask(question: str, passages: Sequence[str] = ()) -> list[dict[str, str]]:
    """The messages that put `question` to a model, with the passages that it must answer from."""
    if not passages:
        return [{"role": "user", "content": question}]
    shown = "\n\n".join(passages)
    return [
        {"role": "system", "content": GROUNDED},
        {"role": "user", "content": f"{shown}\n\nQuestion: {question}"},
    ]


def conversation(pair: Mapping[str, Any]) -> list[dict[str, str]]:
    """The messages of a pair, its right answer last: either its own `messages`, or question and passage."""
    if pair.get("messages"):
        return [dict(message) for message in pair["messages"]]
    passages = [pair["passage"]] if pair.get("passage") else []
    return [*ask(pair["question"], passages), {"role": "assistant", "content": pair["answer"]}]


class Prompter:
    """The tokenizer and chat template of a model's folder, without torch or transformers.

    Needs `tokenizer.json`, `chat_template.jinja` and `tokenizer_config.json` there.
    """

    def __init__(self, folder: Path) -> None:
        from jinja2.sandbox import ImmutableSandboxedEnvironment
        from tokenizers import Tokenizer

        missing = [n for n in ("tokenizer.json", "chat_template.jinja") if not (folder / n).is_file()]
        if missing:
            raise SourceError(
                f"the model's folder has no {' and no '.join(missing)}",
                where=str(folder),
                try_="a base model that comes with a chat template (an instruct or chat model)",
            )
        # The same switches as transformers' apply_chat_template: the template's white space depends on them.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _raise
        environment.filters["tojson"] = _tojson
        self._template = environment.from_string((folder / "chat_template.jinja").read_text("utf-8"))
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._folder = folder

    @cached_property
    def special(self) -> dict[str, str]:
        """The special tokens that templates may name, such as `bos_token`."""
        config = json.loads((self._folder / "tokenizer_config.json").read_text("utf-8"))
        found = {}
        for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
            token = config.get(name)
            found[name] = token["content"] if isinstance(token, dict) else token or ""
        return found

    @cached_property
    def end(self) -> int:
        """The token that ends an answer."""
        token = self._tokenizer.token_to_id(self.special["eos_token"])
        if token is None:
            raise SourceError("the tokenizer has no end-of-answer token", where=str(self._folder))
        return int(token)

    @cached_property
    def vocabulary(self) -> int:
        """How many tokens there are; their ids lie below."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def word(self, id: int) -> str:
        """A token as the tokenizer spells it; "" for an id that is none."""
        return self._tokenizer.id_to_token(id) or ""

    def text(self, messages: Sequence[Message], *, answering: bool) -> str:
        """The conversation as one text; `answering` opens the assistant's turn at its end."""
        return str(
            self._template.render(messages=list(messages), add_generation_prompt=answering, **self.special)
        )

    def encode(self, text: str) -> list[int]:
        """Token ids of a rendered text; the template has written the special tokens already."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids up to where the model starts to answer."""
        return self.encode(self.text(messages, answering=True))

    def turns(self, messages: Sequence[Message]) -> list[Turn]:
        """A whole conversation as pieces: what the model reads, and what it is to write.

        Each answer is encoded apart from what stands before it, as it is when the model writes it;
        it ends with the end token. What the template adds after that belongs to the next piece.
        """
        turns: list[Turn] = []
        done = ""
        for at, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.text(messages[:at], answering=True)
            if not before.startswith(done):
                raise SourceError(
                    "the chat template rewrites earlier turns, so they cannot be tuned turn by turn",
                    try_="pairs with a single answer",
                )
            turns.append(Turn(tuple(self.encode(before[len(done) :])), learn=False))
            turns.append(Turn((*self.encode(message["content"]), self.end), learn=True))
            done = before + message["content"] + self.special["eos_token"]
        return turns


class Words:
    """Text out of tokens as they come; half a character waits for its other half."""

    def __init__(self, prompter: Prompter) -> None:
        self._prompter = prompter
        self._ids: list[int] = []
        self._from = 0  # decoding starts here, at whole characters, for what a decoder does at a text's start
        self._told = 0  # the text of the tokens before this was handed out

    def feed(self, ids: Sequence[int]) -> str:
        """The text that is certain by now."""
        text = ""
        for id in ids:
            self._ids.append(id)
            text += self._new(rest=False)
        return text

    def rest(self) -> str:
        """What was held back, when no more tokens come."""
        return self._new(rest=True)

    def _new(self, *, rest: bool) -> str:
        before = self._prompter.decode(self._ids[self._from : self._told])
        text = self._prompter.decode(self._ids[self._from :])
        end = len(self._ids)
        if not rest and text.endswith(UNFINISHED):
            if end - self._told < LONGEST_CHARACTER:
                return ""
            # Bytes that spell none after four tokens never will, but the last three may still begin one.
            for end in range(len(self._ids) - LONGEST_CHARACTER + 1, len(self._ids) + 1):
                certain = self._prompter.decode(self._ids[self._from : end])
                if text.startswith(certain):
                    text = certain
                    break
        self._from, self._told = self._told, end
        return text[len(before) :]


def _raise(message: str) -> None:
    raise SourceError(f"the chat template refuses the messages: {message}")


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
