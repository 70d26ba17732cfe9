"""Torch's side of parity: this file's own weights and the original model, run and compared in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .forced import Forced
from .identity import Difference, weight_files

if TYPE_CHECKING:
    import torch

# Largest relative error (root mean square) of a right conversion's tensor, and how far its scale may be off.
# SmolLM2's tensors are off by 0.085 to 0.104 in Q4_0, 0.0065 in Q8_0, 0.0002 in F16; rounding a block of 32
# by its largest number can cost at most 0.2 and 0.013, however the numbers lie. LiteRT's int8, whose step is
# that of a whole row, is off by 0.006 to 0.012; so is OpenVINO's, whose int4 is off by 0.121. Numbers on the
# steps of a 4-bit file are all rounded to one side by Q5_1: a scale off by 0.016. A transposed or permuted
# tensor is off by 0.3 to 1.4.
ERROR_LIMITS: dict[str, tuple[float, float]] = {
    "F16": (0.002, 0.001),
    "Q8_0": (0.02, 0.005),
    "Q5_1": (0.11, 0.03),
    "Q5_0": (0.11, 0.03),
    "Q4_1": (0.22, 0.03),
    "Q4_0": (0.22, 0.03),
    "F32": (1e-6, 1e-6),
    "fp32": (1e-6, 1e-6),
    "BF16": (0.004, 0.002),
    "int8": (0.03, 0.005),
    "int4": (0.22, 0.03),
}
ERROR_LIMIT = (0.25, 0.05)
VECTOR_LIMITS = (0.004, 0.002)  # norms and biases scale everything: they stay in single or half precision


HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class Divergence:
    """Mean KL(model || file) in nats over the answer positions of each item.

    `general`: by general text, the loss (nats) of the file's weights minus the model's, and its tokens.
    """

    by_item: tuple[float, ...]
    tokens: int
    general: tuple[tuple[float, int], ...] = ()


def compare(path: Path, folder: Path, file_type: str) -> list[Difference]:
    """Tensors of the file whose numbers are further from the model's than this file type explains.

    Names and shapes are taken to agree. Raises SourceError for a file that cannot be read.
    """
    from safetensors import safe_open

    from ..engines.torch_engine import state_dict

    file = state_dict(path)
    names: set[str] = set()
    rows: list[Difference] = []
    for part in weight_files(folder):
        with safe_open(part, framework="pt") as tensors:
            names.update(tensors.keys())
            for name in sorted(file.keys() & tensors.keys()):
                rows += _off(name, file[name], tensors.get_tensor(name), file_type)
    if HEAD in file.keys() - names and EMBEDDING in file:  # the model's is the embedding
        rows += _off(HEAD, file[HEAD], file[EMBEDDING], file_type)
    return rows


def _off(name: str, mine: torch.Tensor, right: torch.Tensor, file_type: str) -> Iterator[Difference]:
    """The row that says by how much, if it is more than this file type explains."""
    matrix = right.dim() > 1
    most, scale = ERROR_LIMITS.get(file_type, ERROR_LIMIT) if matrix else VECTOR_LIMITS
    # In double precision: a single sum over millions of products loses whole percents.
    right, mine = right.double().flatten(), mine.double().flatten()
    size = float(right @ right)
    if size == 0:
        return
    error = (float((mine - right).square().sum()) / size) ** 0.5
    slope = float(mine @ right) / size
    if not error <= most or abs(slope - 1) > scale:
        yield Difference(
            f"numbers of {name}",
            f"off by {error:.3g} of their size, scale {slope:.4g}",
            f"within {most:g} and {scale:g} for {file_type}",
        )


def measure(
    path: Path,
    folder: Path,
    forced: Sequence[Forced],
    general: Sequence[tuple[int, ...]],
    *,
    threads: int,
    report: Callable[..., None],
) -> tuple[list[Forced], Divergence]:
    """Run the file's weights and the original model over the items, teacher-forced, and over general texts.

    Gives the items with the file's log-probabilities, and the divergence. Raises SourceError when either
    cannot be run.
    """
    import torch

    from ..engines.torch_engine import load

    done: list[Forced] = []
    divergence: list[float] = []
    with _threads(threads), torch.inference_mode():
        whole = [(ids[:1], ids[1:]) for ids in general]
        rights = _of_model(folder, (*((item.prompt, item.answer) for item in forced), *whole))
        mine = load(path)
        for at, (item, b) in enumerate(zip(forced, rights, strict=False)):
            a = log_probabilities(mine, item.prompt, item.answer)
            told = a.gather(1, torch.tensor(item.answer)[:, None])[:, 0]
            done.append(replace(item, logprobs=tuple(round(float(v), 6) for v in told)))
            divergence.append(float((b.exp() * (b - a)).sum(dim=1).mean().clamp(min=0)))
            report("torch runs the file and the model", done=at + 1, total=len(forced))
        losses = []
        for (first, rest), b in zip(whole, rights[len(forced) :], strict=True):
            a, at_rest = log_probabilities(mine, first, rest), torch.tensor(rest)[:, None]
            losses.append((float((b.gather(1, at_rest) - a.gather(1, at_rest)).sum()), len(rest)))
    tokens = sum(len(item.answer) for item in forced)
    return done, Divergence(tuple(divergence), tokens, tuple(losses))


@lru_cache(maxsize=1)
def _of_model(folder: Path, asked: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]) -> list[torch.Tensor]:
    """The model's side, which is the same for each of its files: three files in one `up` run it once."""
    from ..engines.torch_engine import load

    model = load(folder)
    return [log_probabilities(model, prompt, answer) for prompt, answer in asked]


def log_probabilities(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """Log-probabilities (len(answer), vocabulary) at the positions that predict the answer's tokens.

    Only these positions go through the output head: it is a third of a small model's work.
    """
    import torch

    ids = torch.tensor([[*prompt, *answer[:-1]]])
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=len(answer)).logits[0]
    found: torch.Tensor = logits.float().log_softmax(dim=-1)
    return found


@contextmanager
def _threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
