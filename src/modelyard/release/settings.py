"""Settings of the release room: the gates and the load of a project, and the step that chooses."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from .. import signing
from ..records.facts import FACTS
from ..records.settings import Money, Settings, check_server
from ..records.shapes import Step

SIGN = Step(signing.STEP, 1, "modelyard.release.sign:run")
CHOOSE = Step("release.choose", 4, "modelyard.release.make:run")

LOSS = "quality.task"  # the fact whose loss against the reference is measured (loss.task)


class Excuse(Settings):
    """Why a gate may be missed for a while, and who answers for it: in the audit log and on the card."""

    by: str = Field(min_length=3)
    """Name of the person."""
    reason: str = Field(min_length=10)
    """Why, in words that a customer may read."""
    until: date
    """Last day (UTC) on which it counts."""


class Gate(Settings):
    """A limit that a fact must keep: one of the three. An unmeasured fact does not keep it."""

    min: float | None = None
    """Least value. A share must keep it with the lower bound of its 95% interval."""
    max: float | None = None
    """Largest value. A share must keep it with the upper bound of its 95% interval."""
    max_loss: float | None = Field(default=None, ge=0, le=1)
    """Most that may be lost against the unquantised file, by the upper bound of the paired difference."""
    excuse: Excuse | None = Field(default=None, exclude_if=lambda excuse: excuse is None)
    """Who answers for missing it, why, and until when; none for a gate on parity."""

    @model_validator(mode="after")
    def _one(self) -> Gate:
        if sum(limit is not None for limit in (self.min, self.max, self.max_loss)) != 1:
            raise ValueError("a gate has one limit: min, max or max_loss")
        return self

    @property
    def kind(self) -> str:
        """Which of the three it is."""
        return "min" if self.min is not None else "max" if self.max is not None else "max_loss"

    @property
    def limit(self) -> float:
        """The number that must be kept."""
        return next(limit for limit in (self.min, self.max, self.max_loss) if limit is not None)


class Mix(Settings):
    """The load that speed and cost are measured at."""

    callers: int = Field(default=8, ge=1, le=256)
    """Questions under way at once."""
    input_tokens: int = Field(default=250, ge=1)
    """Tokens of a prompt, passages and template included."""
    output_tokens: int = Field(default=30, ge=2)
    """Tokens of an answer."""


Probe = Literal[
    "groups",
    "robust",
    "calibration",
    "refusal",
    "swap",
    "bbq",
    "crows",
    "verbatim",
    "canary",
    "injection",
]
SetName = Literal["refusal", "over_refusal", "injection", "swaps", "framings", "bbq", "crows", "canaries"]


class Remote(Settings):
    """A server of yours that serves a file which `up` made, measured beside this machine's engines."""

    url: str
    """Base of its routes, such as http://127.0.0.1:8000/v1; nothing else is called."""
    model: str = Field(min_length=1)
    """Model to ask for, as the server names it."""
    file: str
    """Which file it serves, such as gguf Q8_0: the server must run that very file."""
    key_env: str | None = None
    """Environment variable with the server's key; the key itself stands in no file and no record."""
    usd_per_hour: Money | None = None
    """What an hour of the server costs you; as much as this machine, and marked so, when absent."""

    # Checked together, so that a mistake is told without the value: it may be a key in the wrong place.
    @model_validator(mode="after")
    def _fits(self) -> Remote:
        check_server(self.url, self.key_env)
        return self


class Probes(Settings):
    """How candidates behave besides their task, asked of each that may be released."""

    run: tuple[Probe, ...] = ()
    """Probes to run besides those whose facts have a gate."""
    items: int = Field(default=48, ge=8)
    """Most pairs, prefixes or rows of a set that a probe asks, evenly spread over it."""
    sets: Mapping[SetName, str] = Field(default_factory=dict)
    """Files of your own instead of the built-in sets; bbq, crows and canaries have no built-in one."""


class Release(Settings):
    """The block `release` of the project file."""

    gates: Mapping[str, Gate] = Field(default_factory=dict)
    """Limits by fact. Identity, fault and divergence of the file are always gates."""
    mix: Mix = Mix()
    """The load that speed and cost are measured at."""
    engines: tuple[Literal["openvino", "llamacpp", "onnx", "litert", "vllm"], ...] | None = None
    """Engines to try; openvino, llamacpp and onnx, where they are installed, unless named."""
    remote: Remote | None = None
    """A server to try beside them."""
    probes: Probes = Probes()
    """How candidates behave besides their task: refusals, fairness, leaks, robustness."""

    @field_validator("gates")
    @classmethod
    def _known(cls, gates: Mapping[str, Gate]) -> Mapping[str, Gate]:
        return check_gates(gates)


def check_gates(gates: Mapping[str, Gate]) -> Mapping[str, Gate]:
    """The gates, if each names a fact that there is. Raises ValueError naming the nearest fact."""
    from difflib import get_close_matches

    for name, gate in gates.items():
        if name not in FACTS:
            near = get_close_matches(name, FACTS, 1)
            raise ValueError(f"there is no fact {name}" + (f"; did you mean {near[0]}?" if near else ""))
        if gate.kind == "max_loss" and name != LOSS:
            raise ValueError(f"max_loss is measured for {LOSS}, not for {name}: give min or max")
        if gate.excuse is not None and name.startswith("parity."):
            raise ValueError(
                f"{name} has no excuse: a file that is not the model, or is run wrongly, is no risk to take"
            )
    return gates


def ended(gates: Mapping[str, Gate], today: date) -> dict[str, Excuse]:
    """The excuses that count no longer, by their gates."""
    return {name: gate.excuse for name, gate in gates.items() if gate.excuse and gate.excuse.until < today}


def gates_for(gates: Mapping[str, Gate], *, has_pairs: bool, today: date) -> dict[str, Gate]:
    """The project's gates, with those that nobody has to ask for, and without excuses that have ended.

    With pairs: at most 0.05 of quality.task lost against the unquantised file, unless it has a gate.
    """
    over = ended(gates, today)
    held = {
        name: gate.model_copy(update={"excuse": None}) if name in over else gate
        for name, gate in gates.items()
    }
    return ({LOSS: Gate(max_loss=0.05)} if has_pairs else {}) | held


class ChooseSettings(Settings):
    """What release.choose is told."""

    project: str
    """Name of the project; the served model's id."""
    gates: Mapping[str, Gate]
    """All gates, the defaults among them (see gates_for)."""
    task: Mapping[str, Any] = Field(default_factory=dict)
    """The project's block `task`, for serving and the card."""
    ground: Mapping[str, Any] | None = None
    """The project's block `ground`; None: answers without retrieval."""
    usd_per_hour: float = Field(ge=0)
    """Price of an hour of this machine."""
    price_is_assumed: bool = False
    """Nobody gave the price; the cost facts say so."""
    remote_usd_per_hour: float | None = Field(default=None, ge=0)
    """Price of an hour of the server that `remote` asks; None: that of this machine."""
    earlier_looks: int = Field(default=0, ge=0)
    """Other candidates that had been scored on the same pairs of `report` before the winner was."""
    left_out: tuple[str, ...] = Field(default=(), exclude_if=lambda left: not left)
    """Files that the search's minutes left no time to try."""

    @field_validator("gates")
    @classmethod
    def _known(cls, gates: Mapping[str, Gate]) -> Mapping[str, Gate]:
        return check_gates(gates)


class SignSettings(Settings):
    """What release.sign is told."""

    password_env: str | None = None
    """Environment variable with the key's password."""
