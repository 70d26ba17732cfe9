"""`modelyard.yaml` to a frozen Project: all mistakes at once, each with its line and what to try."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from .bill.settings import Prices
from .data.settings import Ground, Source, Task
from .errors import ProjectError
from .optimize.settings import FileKind, Prune
from .plan.settings import Plan
from .records.settings import Money, Settings
from .release.settings import Release
from .serve.settings import Serve
from .train.settings import Budget, Train

FILE = "modelyard.yaml"


class Data(Settings):
    """The block `data`: what to read, and what to take out."""

    sources: tuple[Source, ...] = Field(min_length=1)
    """Documents and pairs, each with licence, owner and basis."""
    redact: tuple[Literal["email", "phone"], ...] = ("email", "phone")
    """Personal data replaced by a marker."""
    near_duplicate: float = Field(default=0.8, ge=0.5, le=1.0)
    """Similarity (Jaccard, word 5-grams) from which two texts count as the same."""
    phone_region: str = "US"
    """Country whose phone numbers are recognised without a + in front."""


class ReleaseSearch(Settings):
    """What competes, and how long the search may take. What a smaller model loses is counted from the tuned
    one's own answers.
    """

    minutes: float | None = Field(default=None, gt=0)
    """Time that converting, measuring and choosing may take; as much as it needs when absent."""
    files: tuple[FileKind, ...] | None = None
    """Kinds of file to try, such as [gguf Q4_0, onnx int4]; all that the engines read unless named."""
    prune: tuple[Prune, ...] = ()
    """Models to cut out of the tuned one, such as [{layers: 26}, {mlp: 0.75}]."""
    students: tuple[str, ...] = ()
    """Smaller bases with the same words, to be taught by the tuned model: named as train.base is."""
    recovery: Budget | None = Budget(minutes=5)
    """How long each learns from the tuned model; null takes pruned models as they are."""

    @model_validator(mode="after")
    def _taught(self) -> ReleaseSearch:
        if self.students and self.recovery is None:
            raise ValueError("students need a recovery: an untaught one knows nothing of the task")
        return self


class ReleaseBlock(Release):
    """The block `release`: gates, load, engines, and which smaller models to try."""

    search: ReleaseSearch = ReleaseSearch()
    """Which smaller models to try besides the tuned one; none unless named."""


class MachineBlock(Settings):
    """The block `machine`: what this machine costs and how much of it to use."""

    usd_per_hour: Money | None = None
    """What an hour of this machine costs you; assumed, and marked so, when absent."""
    threads: int | None = Field(default=None, ge=1)
    """Cores to use; all of them when absent."""


class Project(Settings):
    """A whole project file."""

    version: Literal[1]
    """Version of the file's format."""
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    """Name of the project and of the model that it serves."""
    task: Task = Task()
    """What the model is asked to do."""
    data: Data
    """What to read."""
    ground: Ground | None = None
    """Answer from the documents, with citations; null answers from the model alone."""
    train: Train = Train()
    """Which base, and how to tune it."""
    release: ReleaseBlock = ReleaseBlock()
    """Which gates a release must pass."""
    machine: MachineBlock = MachineBlock()
    """What this machine costs."""
    prices: Prices | None = None
    """What the plans cost; null while nothing is sold."""
    serve: Serve = Serve()
    """How much the service takes on at once."""
    plan: Plan | None = None
    """Goal, money, people and what is assumed of the future, for `modelyard plan`."""
    seed: int = 0
    """Where everything random starts from."""

    @model_validator(mode="after")
    def _one_currency(self) -> Project:
        if self.plan and self.prices and self.plan.currency != self.prices.currency:
            raise ValueError(
                f"prices are in {self.prices.currency} and plan in {self.plan.currency}: use one currency, "
                f"and plan.usd_rate for what is priced in USD"
            )
        return self


def find(start: Path) -> Path:
    """The project file in `start` or the nearest folder above it."""
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder / FILE
    raise ProjectError(
        f"there is no {FILE} here",
        where=str(start),
        try_="`modelyard init` writes one, or change to the folder that has it",
    )


def load(path: Path) -> Project:
    """Read and check a project file. Raises ProjectError with every mistake in it."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ProjectError(
            "the project file is not UTF-8", where=f"{path.name}: byte {error.start}"
        ) from None
    except OSError as error:
        raise ProjectError(f"the project file cannot be read: {error.strerror}", where=str(path)) from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise ProjectError(
            f"this is not YAML: {problem}",
            where=f"{path.name}:{mark.line + 1}" if mark else path.name,
            try_="check indents, colons and quotes",
        ) from None
    if not isinstance(root, yaml.MappingNode):
        raise ProjectError(
            "the project file is empty or no mapping", where=path.name, try_="`modelyard init`"
        )
    lines: dict[tuple[str | int, ...], int] = {}
    mistakes: list[str] = []
    try:
        value = _plain(root, (), lines, mistakes)
    except RecursionError:
        raise ProjectError("an alias in the project file holds itself", where=path.name) from None
    try:
        project = Project.model_validate(value)
    except ValidationError as error:
        mistakes += [_sentence(problem, value, lines) for problem in error.errors(include_url=False)]
        project = None
    if mistakes or project is None:
        raise ProjectError(
            f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''} in the project file:\n  "
            + "\n  ".join(sorted(mistakes, key=_line_first)),
            where=str(path),
            try_="mend the lines named above; `modelyard doctor --schema` prints every setting",
        )
    return project


def schema() -> dict[str, Any]:
    """The JSON schema of a project file, for editors."""
    return Project.model_json_schema()


def _plain(node: yaml.Node, at: tuple[str | int, ...], lines: dict[Any, int], mistakes: list[str]) -> Any:
    """A YAML node as plain data. A decimal number stays text, so that money never becomes a float."""
    lines[at] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in found:
                mistakes.append(f"line {key_node.start_mark.line + 1}: {_dotted((*at, key))} stands twice")
            found[key] = _plain(value_node, (*at, key), lines, mistakes)
            lines[(*at, key)] = key_node.start_mark.line + 1
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*at, i), lines, mistakes) for i, child in enumerate(node.value)]
    if node.tag.rpartition(":")[2] in ("int", "bool", "null"):
        return yaml.SafeLoader("").construct_object(node)
    return str(node.value)  # a number with a point too: pydantic reads it as float or Decimal


def _sentence(problem: Any, value: Any, lines: dict[Any, int]) -> str:
    """One validation problem as: line, setting, what is wrong, what to try."""
    at = tuple(part for part in problem["loc"])
    known = at
    while known and known not in lines:
        known = known[:-1]
    line, name = lines.get(known, 1), _dotted(at)
    kind, message = problem["type"], problem["msg"]
    if kind == "extra_forbidden":
        names = _fields(at[:-1])
        near = difflib.get_close_matches(str(at[-1]), names, n=1)
        advice = f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"
        return f"line {line}: {name} is no setting; {advice}"
    if kind == "missing":
        return f"line {line}: {name} is missing{_meaning(at)}"
    message = message.removeprefix("Value error, ").replace("Input should", "should")
    given = problem.get("input")
    shown = (
        f", got {json.dumps(given, default=str, ensure_ascii=False)}" if not isinstance(given, dict) else ""
    )
    return f"line {line}: {name} {message}{shown}"


def _fields(at: tuple[Any, ...]) -> list[str]:
    block = _block(at)
    return list(block.model_fields) if block else []


def _meaning(at: tuple[Any, ...]) -> str:
    block = _block(at[:-1])
    text = block.model_fields[at[-1]].description if block and at[-1] in block.model_fields else None
    return f" ({text.rstrip('.')})" if text else ""


def _block(at: tuple[Any, ...]) -> type[BaseModel] | None:
    """The settings model at a place of the project file."""
    block: type[BaseModel] | None = Project
    named = False  # the next part is a name that the user chose, as that of a plan
    for part in at:
        if isinstance(part, int) or named:
            named = False
            continue
        if block is None or part not in block.model_fields:
            return None
        annotation = block.model_fields[part].annotation
        block, named = _model_in(annotation), getattr(annotation, "__origin__", None) is dict
    return block


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if found := _model_in(inner):
            return found
    return None


def _dotted(at: tuple[str | int, ...]) -> str:
    text = ""
    for part in at:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _line_first(sentence: str) -> tuple[int, str]:
    number = sentence.removeprefix("line ").partition(":")[0]
    return (int(number) if number.isdigit() else 0, sentence)
