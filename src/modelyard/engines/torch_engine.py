"""The reference: torch runs the very weights and numbers that a file holds, in float32. Slow, and right."""

from __future__ import annotations

import os
import resource
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SourceError, need
from . import gguf_file, litert_file, onnx_file, openvino_file
from .menu import kind
from .protocol import Engine, Event, Finish, Request

if TYPE_CHECKING:
    import torch

# The formats whose files hold no config that transformers reads: the candidate's own stands beside them.
READERS = {
    "litert": litert_file.state_dict,
    "openvino": openvino_file.state_dict,
    "onnx": onnx_file.state_dict,
}


def start(model: Path, *, threads: int, callers: int, context_tokens: int, exact: bool = True) -> Engine:
    """The engine on whatever `load` takes; it is exact whether asked or not."""
    return TorchEngine(model, threads=threads, callers=callers, context_tokens=context_tokens)


def load(model: Path) -> Any:
    """A transformers model in float32, ready to score: a file's own weights, or a safetensors folder's.

    Raises SourceError when it cannot be loaded whole. Nothing is fetched, no code of the model is run.
    """
    torch = need("torch", extra="train", for_="the reference engine")
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    transformers = need("transformers", extra="train", for_="the reference engine")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if kind(model) in READERS:
        config = transformers.AutoConfig.from_pretrained(model.parent, local_files_only=True)
        return _filled(torch, transformers.AutoModelForCausalLM.from_config, config, model)
    if model.is_dir():
        if not any(model.glob("*.safetensors")):
            raise SourceError("the folder has no safetensors weights", where=str(model))
        try:
            loaded = transformers.AutoModelForCausalLM.from_pretrained(
                model,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise SourceError(f"the model cannot be loaded: {error}", where=str(model)) from None
        return loaded.eval()
    numbers = gguf_file.config(model)
    family = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    }
    config, network = family[numbers["model_type"]]
    told = config(**{k: v for k, v in numbers.items() if k != "model_type"})
    return _filled(torch, network, told, model)


def state_dict(model: Path) -> dict[str, torch.Tensor]:
    """The weights that a file or folder holds as float32, dequantised, under Hugging Face's names.

    Raises SourceError for one that cannot be read.
    """
    if kind(model) in READERS:
        return READERS[kind(model)](model)
    if kind(model) == "gguf":
        return gguf_file.state_dict(model)
    return {name: tensor.float() for name, tensor in load(model).state_dict().items()}


def _filled(torch: Any, network: Any, config: Any, model: Path) -> Any:
    """A network of this config with a file's weights."""
    with torch.device("meta"):  # no memory for weights that are replaced at once
        loaded = network(config)
    try:
        loaded.load_state_dict(state_dict(model), strict=True, assign=True)
    except RuntimeError as error:
        raise SourceError(
            f"the file's weights do not fit its own metadata: {error}", where=str(model)
        ) from None
    loaded.tie_weights()
    # The rotation's frequencies are no weights: they were made on the meta device and have no values yet.
    loaded.model.rotary_emb = type(loaded.model.rotary_emb)(loaded.config)
    return loaded.eval().requires_grad_(False)


class TorchEngine:
    """One step for one request at a time, in turn; a whole prompt is scored in one pass."""

    name = "torch"
    gives = frozenset({"prompt_logprobs", "exact"})

    def __init__(self, model: Path, *, threads: int, callers: int = 1, context_tokens: int = 2048) -> None:
        self._torch = need("torch", extra="train", for_="the reference engine")
        self._torch.set_num_threads(threads)
        self._model = load(model)
        self._callers = callers
        self._context = context_tokens
        self._running: dict[str, _Run] = {}
        self._waiting: deque[Request] = deque()
        self._told: list[Event] = []

    def submit(self, request: Request) -> None:
        if len(request.prompt) + request.max_tokens > self._context:
            why = f"prompt and answer exceed the context of {self._context} tokens"
            self._told.append(Event(request.id, (), time.monotonic(), "failed", why))
        else:
            self._waiting.append(request)

    def cancel(self, id: str) -> None:
        waiting = [request for request in self._waiting if request.id != id]
        if len(waiting) < len(self._waiting) or self._running.pop(id, None) is not None:
            self._waiting = deque(waiting)
            self._told.append(Event(id, (), time.monotonic(), "cancelled"))

    def poll(self, wait_s: float) -> list[Event]:
        while self._waiting and len(self._running) < self._callers:
            request = self._waiting.popleft()
            self._running[request.id] = _Run(request)
        for id, run in list(self._running.items()):
            token = self._step(run)
            finish: Finish | None = None
            if token in run.request.stop:
                finish = "stop"
            elif run.made + 1 >= run.request.max_tokens:
                finish = "length"
            run.made += 1
            tokens = () if finish == "stop" else (token,)
            self._told.append(Event(id, tokens, time.monotonic(), finish))
            if finish:
                del self._running[id]
        told, self._told = self._told, []
        return told

    def _step(self, run: _Run) -> int:
        with self._torch.inference_mode():
            ids = self._torch.tensor([run.next])
            out = self._model(ids, cache=run.cache, use_cache=True, logits_to_keep=1)
        run.cache = out.cache
        token = int(out.logits[0, -1].argmax())
        run.next = [token]
        return token

    def score(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        return [float(at[token]) for at, token in zip(self.logprobs(prompt, answer), answer, strict=True)]

    def logprobs(self, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
        """Log-probabilities of the whole vocabulary at each answer token: (len(answer), vocabulary), nats."""
        with self._torch.inference_mode():
            ids = self._torch.tensor([[*prompt, *answer]])
            out = self._model(ids, use_cache=False, logits_to_keep=len(answer) + 1)
            found: torch.Tensor = self._torch.log_softmax(out.logits[0, :-1].double(), dim=-1)
        return found

    def memory_peak_gib(self) -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts KiB

    def close(self) -> None:
        self._running.clear()
        self._waiting.clear()
        del self._model


class _Run:
    """A request under way: what is fed next, and the cache of what was fed."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.next: list[int] = list(request.prompt)
        self.cache: Any = None
        self.made = 0
