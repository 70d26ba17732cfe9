"""A server of somebody else's that serves our file: llama.cpp's, vLLM, or any that speaks as OpenAI does.

Where it is stands in server.json beside the model: `url` (up to /v1), `model` (as the server calls it), and
`key_env`, the environment variable that holds its key, if it wants one. Nothing else is called.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EngineError, SourceError
from .protocol import Engine, Finish, Request
from .streams import Address, Declined, Run, Streams, Unreachable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "server.json"
OURS = {"llamacpp": "llama.cpp", "vllm": "vLLM"}  # owned_by of /models, for servers with more than OpenAI's
NEVER = -100.0  # OpenAI's least logit_bias: the token is not written


def start(model: Path, *, threads: int, callers: int, context_tokens: int, exact: bool = False) -> Engine:
    """The server that serves the file `model`. Its threads are its own; it is never exact.

    Raises EngineError when it cannot be reached, refuses the key, or has no such model.
    """
    told = _told(model.parent / FILE)
    key = os.environ.get(told["key_env"]) if told.get("key_env") else None
    if told.get("key_env") and not key:
        raise EngineError(
            f"{told['key_env']} is not set", where=told["url"], try_="export it, then start again"
        )
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    address = Address(told["url"].rstrip("/"), headers)
    entry = _entry(address, told["model"])
    holds = entry.get("max_model_len") or (entry.get("meta") or {}).get("n_ctx")
    if isinstance(holds, int) and holds < context_tokens:
        raise EngineError(
            f"the server has room for {holds} tokens, {context_tokens} are needed",
            where=address.url,
            try_="start it with a longer context",
        )
    owner = entry.get("owned_by")
    if owner == "llamacpp":
        from .llamacpp import LlamaServer

        native = Address(address.url.removesuffix("/v1"), headers)
        return LlamaServer(native, model, context_tokens=context_tokens)
    if owner == "vllm":
        return Vllm(address, told["model"], model.parent, context_tokens=context_tokens)
    return Completions(address, told["model"], model.parent, context_tokens=context_tokens)


def _told(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text("utf-8"))
        return {"url": str(told["url"]), "model": str(told["model"]), "key_env": told.get("key_env")}
    except (OSError, ValueError, KeyError, TypeError):
        raise SourceError("nothing tells where the server is", where=str(path)) from None


def _entry(address: Address, model: str) -> dict[str, Any]:
    """What the server says of the model."""
    try:
        listed = address.ask("/models")
        found = {str(entry["id"]): entry for entry in listed["data"]}
    except Unreachable as error:
        raise EngineError(
            error.what, where=address.url, try_="start it, or mend release.remote.url"
        ) from None
    except Declined as error:
        advice = "release.remote.url ends before /models, such as http://127.0.0.1:8000/v1"
        if error.status in (401, 403):
            advice = "a key of this server in the variable of release.remote.key_env"
        raise EngineError(error.what, where=address.url, try_=advice) from None
    except (EngineError, LookupError, TypeError):
        raise EngineError("the server lists no models", where=address.url) from None
    if model not in found:
        raise EngineError(
            f"the server has no model {model}", where=address.url, try_=", ".join(sorted(found)) or "none"
        )
    entry: dict[str, Any] = found[model]
    return entry


class Completions(Streams):
    """Any server with OpenAI's /completions, which tells text: its tokens are those that the text has.

    It is given token ids where it takes them, else their text. A figure needs answers of a known length: the
    tokens that would end one are given no chance, and a server that ends it all the same fails the request.
    """

    name = "remote"

    def __init__(self, address: Address, model: str, folder: Path, *, context_tokens: int) -> None:
        super().__init__(context_tokens=context_tokens)
        self._address = address
        self._model = model
        self._folder = folder
        self.gives = self._probe()

    def _probe(self) -> frozenset[str]:
        """What the server takes, found out by asking for one token."""
        ids = self._ids("a")[:1]
        echo = {"max_tokens": 1, "echo": True, "logprobs": 1}
        self._takes_ids = True
        try:
            told = self._ask(ids, **echo)
            if len(told["logprobs"]["token_logprobs"]) >= len(ids):
                return frozenset({"sampling", "prompt_logprobs"})
        except (Declined, LookupError, TypeError):
            pass
        try:
            self._ask(ids, max_tokens=1)
        except Declined:
            self._takes_ids = False
            self._ask(ids, max_tokens=1)
        return frozenset({"sampling"})

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        if "prompt_logprobs" not in self.gives:
            raise EngineError(
                "the server tells no log-probabilities of a prompt, so nothing proves what it runs",
                where=self._address.url,
                try_="llama.cpp's server or vLLM",
            )
        told = self._ask([*prompt, *answer], max_tokens=1, echo=True, logprobs=1)
        found: list[float] = told["logprobs"]["token_logprobs"][len(prompt) : len(prompt) + len(answer)]
        return found

    def memory_peak_gib(self) -> float | None:
        return None  # it is not our process

    def _follow(self, run: Run) -> Finish:
        request = run.request
        told: list[int] = []
        finish: Finish | None = None
        with self._address.open("/completions", self._body(request), run) as reply:
            for chunk in reply.chunks():
                for choice in chunk.get("choices") or ():
                    if self._tell(request, told, *self._read(choice)):
                        return "stop"
                    finish = _finish(choice) or finish
        if finish is None:
            raise EngineError("the server broke off the answer")
        if finish == "stop" and not request.stop:
            raise EngineError("the server ended an answer that was to go on")
        return finish

    def _read(self, choice: Mapping[str, Any]) -> tuple[list[int], list[float]]:
        """The tokens of a piece of the stream, and their log-probabilities where they are told."""
        return self._ids(choice.get("text") or ""), []

    def _body(self, request: Request) -> dict[str, Any]:
        return {
            "model": self._model,
            "prompt": self._prompt(request.prompt),
            "max_tokens": request.max_tokens,
            "stream": True,
            **self._ends(request),
            **_drawn(request),
        }

    def _ends(self, request: Request) -> dict[str, Any]:
        if request.stop:
            words = [self._tokenizer.id_to_token(token) for token in request.stop]
            return {"stop": [word for word in words if word][:4]}  # OpenAI takes four
        return {"logit_bias": {str(token): NEVER for token in self._special}}

    def _prompt(self, ids: Sequence[int]) -> list[int] | str:
        if self._takes_ids:
            return list(ids)
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def _ask(self, ids: Sequence[int], **options: Any) -> dict[str, Any]:
        body = {"model": self._model, "prompt": self._prompt(ids), "temperature": 0.0, **options}
        choice: dict[str, Any] = self._address.ask("/completions", body)["choices"][0]
        return choice

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self._folder / "tokenizer.json"))

    @cached_property
    def _special(self) -> list[int]:
        added = self._tokenizer.get_added_tokens_decoder()
        return sorted(token for token, how in added.items() if how.special)

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)


class Vllm(Completions):
    """vLLM's own server, which tells token ids and log-probabilities of both sides."""

    def _probe(self) -> frozenset[str]:
        self._takes_ids = True
        return frozenset({"sampling", "seed", "logprobs", "prompt_logprobs", "json_schema"})

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        told = self._ask([*prompt, *answer], max_tokens=1, prompt_logprobs=0)["prompt_logprobs"]
        rest = zip(answer, told[len(prompt) :], strict=True)
        return [float(chances[str(token)]["logprob"]) for token, chances in rest]

    def _read(self, choice: Mapping[str, Any]) -> tuple[list[int], list[float]]:
        chances = (choice.get("logprobs") or {}).get("token_logprobs") or ()
        return list(choice.get("token_ids") or ()), [float(value) for value in chances]

    def _ends(self, request: Request) -> dict[str, Any]:
        # Left alone it would also end at the file's own end token, and draw as generation_config.json says.
        asked: dict[str, Any] = {"stop_token_ids": list(request.stop), "ignore_eos": True}
        asked |= {"return_token_ids": True, "top_k": 0, "repetition_penalty": 1.0}
        if request.logprobs:
            asked["logprobs"] = 0
        if request.schema is not None:
            asked["structured_outputs"] = {"json": json.loads(request.schema)}
        return asked


def _drawn(request: Request) -> dict[str, Any]:
    if request.temperature == 0:
        return {"temperature": 0.0}
    seed = secrets.randbits(32) if request.seed is None else request.seed
    return {"temperature": request.temperature, "top_p": request.top_p, "seed": seed}


def _finish(choice: Mapping[str, Any]) -> Finish | None:
    reason = choice.get("finish_reason")
    if reason is None:
        return None
    return "length" if reason == "length" else "stop"
