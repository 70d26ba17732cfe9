"""llama.cpp's server inside this process (xllamacpp), asked over its loopback address: good for one caller.

The in-process calls of xllamacpp return text only; the native HTTP route returns token ids, which is what
we compare and bill. The address is 127.0.0.1 with a random port, and a random key that only we know.
"""

from __future__ import annotations

import json
import resource
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import EngineError, need
from .pieces import Pieces
from .protocol import MATCHED, PROPOSED, Engine, Finish, Request
from .streams import Address, Run, Streams

FORCE = 1e6  # added to a token's logit so that it is chosen; its log-probability is told from before that
ALL = 1 << 20  # alternatives told of: the whole vocabulary
ROUTE = "/completion"


def start(
    model: Path,
    *,
    threads: int,
    callers: int,
    context_tokens: int,
    exact: bool = False,
    lookup: bool = False,
    prefix_caching: bool = False,
) -> Engine:
    """The engine on a GGUF file. It quantises the activations that meet quantised weights: never exact."""
    return LlamaCpp(
        model,
        threads=threads,
        callers=callers,
        context_tokens=context_tokens,
        prefix_caching=prefix_caching,
        lookup=lookup,
    )


class LlamaServer(Streams):
    """Any server of llama.cpp's that serves the file `model`, ours or another's, by its native route."""

    name = "llamacpp"
    gives = frozenset({"sampling", "seed", "json_schema"})

    def __init__(
        self, address: Address, model: Path, *, context_tokens: int, prefix_caching: bool = False
    ) -> None:
        super().__init__(context_tokens=context_tokens)
        self._address = address
        self._pieces = Pieces(model)
        self._cache = prefix_caching

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        return [self._score([*prompt, *answer[:at]], token) for at, token in enumerate(answer)]

    def _score(self, before: Sequence[int], token: int) -> float:
        """The log-probability of one token: it is forced, and told what it had been without force."""
        whole = self._pieces.id(b"a")
        # Nothing is told of a token that ends inside a character: it is sought beside a whole one.
        for forced, alternatives in ((token, 1), (whole, 64), (whole, ALL)):
            body = self._body(before, 1, ())
            body |= {"n_probs": alternatives, "logit_bias": [[forced, FORCE]], "ignore_eos": False}
            body |= {"cache_prompt": True, "response_fields": ["completion_probabilities"]}
            for told in self._address.ask(ROUTE, body).get("completion_probabilities", ()):
                for one in (told, *told["top_logprobs"]):
                    if one["id"] == token:
                        return float(one["logprob"])
        raise EngineError(f"llamacpp did not score the token {token}", try_="another engine")

    def memory_peak_gib(self) -> float | None:
        return None  # of a server of somebody else's

    def _body(self, ids: Sequence[int], max_tokens: int, stop: tuple[int, ...]) -> dict[str, Any]:
        return {
            "prompt": list(ids),
            "n_predict": max_tokens,
            "temperature": 0.0,
            "samplers": ["temperature"],
            "return_tokens": True,
            "cache_prompt": self._cache,
            "ignore_eos": not stop,
        }

    def _follow(self, run: Run) -> Finish:
        request, how = run.request, _how(run.request)
        body = self._body(request.prompt, request.max_tokens, request.stop) | how | {"stream": True}
        told: list[int] = []  # ids known so far, the stop token among them
        total = 0
        lost = False
        finish: Finish | None = None
        with self._address.open(ROUTE, body, run) as reply:
            for chunk in reply.chunks():
                total = int(chunk["tokens_predicted"])
                if chunk["stop"]:
                    finish = "stop" if chunk["stop_type"] == "eos" else "length"
                    break
                new: Sequence[int] = chunk["tokens"]
                # llama.cpp holds back a token that ends inside a character, and then forgets its id.
                if not lost and len(told) + len(new) < total:
                    found = self._pieces.split(chunk["content"], total - len(told) - len(new), new)
                    lost, new = found is None, found or ()
                if not lost and self._tell(request, told, new):
                    finish = "stop"
                    break
        if finish is None:
            raise EngineError("llamacpp broke off the answer")
        if len(told) < total and self._repair(request, how, told, total):
            finish = "stop"
        return finish

    def _repair(self, request: Request, how: dict[str, Any], told: list[int], total: int) -> bool:
        """Ask again, not as a stream, for the tokens at the end whose ids the stream did not tell.

        What was drawn or held to a schema is asked for from its start, with the seed that it had.
        """
        again = len(told) if how else 0
        before = [] if how else told
        body = self._body([*request.prompt, *before], total - len(before), request.stop) | how
        body |= {"cache_prompt": True, "response_fields": ["tokens"]}
        return self._tell(request, told, self._address.ask(ROUTE, body)["tokens"][again:])


class LlamaCpp(LlamaServer):
    """The server in this process."""

    gives = LlamaServer.gives | {"lookup", "prefix_caching"}

    def __init__(
        self,
        model: Path,
        *,
        threads: int,
        callers: int,
        context_tokens: int,
        prefix_caching: bool = False,
        lookup: bool = False,
    ) -> None:
        try:
            xllamacpp = need("xllamacpp", extra="llamacpp", for_="the engine llamacpp")
        except ImportError as error:  # the wheel wants the system's OpenMP library
            raise EngineError(f"llamacpp cannot be loaded: {error}", try_="apt install libgomp1") from None
        key = secrets.token_urlsafe(32)
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_parallel = callers
        params.n_ctx = callers * context_tokens
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.n_threads_http = callers + 2
        params.hostnames = ["127.0.0.1"]
        params.api_keys = [key]
        params.offline = True
        params.fit_params = False  # the context is what was asked for, not what a guess at memory allows
        params.cache_ram_mib = 0  # no prompt of one caller is kept for another
        params.endpoint_slots = params.endpoint_props = params.endpoint_metrics = params.ui = False
        params.verbosity = -1
        if lookup:
            kinds = xllamacpp.common_speculative_type
            params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
            params.speculative.ngram_simple.size_n = MATCHED
            params.speculative.ngram_simple.size_m = PROPOSED
        try:
            self._server = xllamacpp.Server(params)
        except (RuntimeError, ValueError) as error:
            what = f"llamacpp cannot load the file: {error}"
            raise EngineError(what, where=str(model), try_="another engine") from None
        address = Address(self._server.listening_address, {"Authorization": f"Bearer {key}"})
        super().__init__(address, model, context_tokens=context_tokens, prefix_caching=prefix_caching)

    def memory_peak_gib(self) -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts KiB

    def close(self) -> None:
        super().close()
        del self._server


def _how(request: Request) -> dict[str, Any]:
    """The fields of drawing and of a schema, where the request asks for them."""
    how: dict[str, Any] = {}
    if request.temperature > 0:
        seed = secrets.randbits(32) if request.seed is None else request.seed
        how |= {"temperature": request.temperature, "top_p": request.top_p, "seed": seed}
        how |= {"samplers": ["temperature", "top_p"]}
    if request.schema is not None:
        how["json_schema"] = json.loads(request.schema)
    return how
