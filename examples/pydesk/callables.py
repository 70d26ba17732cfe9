"""The callables of this Python's standard library as short passages, and what their own signatures say.

In: the running Python. Out: `Callable`s in a fixed order, each with the passages that describe it.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import inspect
import io
import pkgutil
import re
import sys
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

# Left out: no documentation (test, xx*), doors to other programs or jokes that act on import, removed in 3.12
# and 3.13, one system's inside of a public module (os.path is read under its own name), 120 codecs all alike.
LEFT_OUT = (
    {"antigravity", "this", "idlelib", "turtledemo", "ensurepip"}
    | {"test", "xxlimited", "xxlimited_35", "xxsubtype", "pydoc_data", "encodings", "lib2to3", "distutils"}
    | {"posix", "nt", "posixpath", "ntpath", "genericpath", "nturl2path"}
)
# One passage and its question must fit a model's 160 tokens; see `weight`.
LONGEST = 140
PARTS = 4  # a docstring longer than this many passages ends there

# E-mail addresses and telephone numbers: data.prepare would redact them, and the truth with them.
_PERSONAL = re.compile(r"\S@\w+\.|\+?\d(?:[ \-()]*\d){6,}")
_ITEM = re.compile(r"([-*+•]|\d+[.)]|:\w|\.\. |@|\w+( \(.*\))? ?(--|:)( |$))")


@dataclass(frozen=True, slots=True)
class Passage:
    """One Markdown document: its file name, and its text from the heading on."""

    document: str
    text: str


@dataclass(frozen=True, slots=True)
class Name:
    """How a callable is called: its module, its name inside it, and what it is."""

    module: str
    inside: str  # "dumps", "JSONDecoder.decode"
    noun: str  # function, class, method

    @property
    def full(self) -> str:
        return self.inside if self.module == "builtins" else f"{self.module}.{self.inside}"

    @property
    def bare(self) -> str:
        return self.inside.rpartition(".")[2]

    @property
    def group(self) -> str:
        """The top-level package: related modules never stand on both sides of a split."""
        return self.module.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Callable:
    """A documented function, class or method, and what its signature says."""

    name: Name
    passages: tuple[Passage, ...]
    blocks: tuple[str, ...]  # the paragraphs of its whole docstring, cleaned
    parameters: str | None  # as written in the first passage; None where there is no plain signature
    defaults: tuple[tuple[str, str | None], ...]  # parameter -> default as written, None where it has none
    open_ended: bool  # takes **keywords
    modules: tuple[str, ...]  # every public module that offers it


def weight(text: str) -> int:
    """An upper bound on SmolLM2 tokens without its tokenizer: it held on 99.9% of these passages."""
    pieces = re.findall(r"[A-Za-z]+|\d|[^\sA-Za-z\d]|\n", text)
    return sum(1 + (len(piece) - 1) // 6 for piece in pieces)


def modules() -> tuple[dict[str, types.ModuleType], dict[str, str]]:
    """Every public module that can be imported here, and why the others cannot, both by name."""
    found: dict[str, types.ModuleType] = {}
    failed: dict[str, str] = {}
    for name in sorted({*sys.stdlib_module_names, "os.path"} - LEFT_OUT):
        _walk(name, found, failed)
    return found, failed


def _walk(name: str, found: dict[str, types.ModuleType], failed: dict[str, str]) -> None:
    if any(part.startswith("_") or part in ("test", "tests", "idle_test") for part in name.split(".")):
        return
    quiet = io.StringIO()
    try:
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module(name)
    except (Exception, SystemExit) as why:  # noqa: BLE001  a module of another system may fail in any way
        failed[name] = f"{type(why).__name__}: {why}"
        return
    found[name] = module
    if name != "os.path":
        for inner in sorted(pkgutil.iter_modules(getattr(module, "__path__", [])), key=lambda m: m.name):
            _walk(f"{name}.{inner.name}", found, failed)


def callables(found: dict[str, types.ModuleType]) -> list[Callable]:
    """Every documented public callable under the shortest public name that it has, sorted by name."""
    homes: dict[int, list[tuple[str, str, object]]] = {}
    for module_name, module in sorted(found.items()):
        shown = getattr(module, "__all__", None)
        for attribute, thing in sorted(vars(module).items()):
            public = attribute in shown if shown is not None else not attribute.startswith("_")
            if not public or not _describable(thing):
                continue
            home = getattr(thing, "__module__", None)
            if home != module_name and (shown is None or (home in found and not _related(home, module_name))):
                continue
            homes.setdefault(id(thing), []).append((module_name, attribute, thing))
    made: list[Callable] = []
    seen: set[str] = set()
    for places in homes.values():
        own = getattr(places[0][2], "__name__", "")
        module_name, attribute, thing = min(
            places, key=lambda p: (p[1] != own, p[0].count("."), len(p[0]), p[0], p[1])
        )
        where = tuple(sorted({place[0] for place in places}))
        noun = "class" if inspect.isclass(thing) else "function"
        made += _callable(Name(module_name, attribute, noun), thing, None, where, seen)
        if inspect.isclass(thing):
            for inner in sorted(vars(thing)):
                if not inner.startswith("_") and inner != "mro":
                    name = Name(module_name, f"{attribute}.{inner}", "method")
                    made += _callable(name, getattr(thing, inner, None), vars(thing)[inner], where, seen)
    made.sort(key=lambda c: (c.name.module, c.name.inside))
    return _without_doubles(made)


def _describable(thing: object) -> bool:
    """Functions, methods and classes; not the objects that only act like one (`typing.Union`)."""
    return inspect.isclass(thing) or inspect.isroutine(thing) or hasattr(thing, "__wrapped__")


def _related(a: str, b: str) -> bool:
    return a.partition(".")[0] == b.partition(".")[0]


def _callable(
    name: Name, thing: object, raw: object, where: tuple[str, ...], seen: set[str]
) -> Iterator[Callable]:
    doc = getattr(thing, "__doc__", None)
    if not _describable(thing) or (name.noun == "method" and inspect.isclass(thing)) or name.full in seen:
        return
    if not isinstance(doc, str) or (name.noun == "class" and "__doc__" not in vars(thing)):
        return
    blocks = _blocks(doc)
    if not blocks or "\n".join(blocks) == name.bare or blocks[0].startswith(f"{name.bare}("):
        return  # nothing but its name, or a signature that inspect could not read
    seen.add(name.full)
    parameters, defaults, open_ended = _signature(name, thing, raw)
    called = name.inside if parameters is None else f"{name.inside}({parameters})"
    passages = _passages(name, f"{called}: {name.noun} in the module {name.module}.", blocks)
    if passages:
        yield Callable(name, passages, tuple(blocks), parameters, defaults, open_ended, where)


def _signature(
    name: Name, thing: object, raw: object
) -> tuple[str | None, tuple[tuple[str, str | None], ...], bool]:
    nothing: tuple[str | None, tuple[tuple[str, str | None], ...], bool] = (None, (), False)
    if isinstance(thing, type) and issubclass(thing, enum.Enum):
        return nothing  # how to look up a member, the same for all
    try:
        signature = inspect.signature(thing)  # type: ignore[arg-type]
    except (ValueError, TypeError, AttributeError, NameError, SyntaxError):
        return nothing  # written in C without one, or with one that Python cannot read
    listed = list(signature.parameters.values())
    bound = isinstance(raw, (staticmethod, classmethod)) or inspect.isbuiltin(thing)
    if name.noun == "method" and not bound:
        listed = listed[1:]  # its self
    if not all(_plain_value(p.default) for p in listed if p.default is not p.empty):
        return nothing  # its text holds an address, a path or a setting of this machine
    listed = [p.replace(annotation=p.empty) for p in listed]
    text = str(inspect.Signature(listed))[1:-1]
    defaults = tuple(
        (p.name, None if p.default is p.empty else repr(p.default))
        for p in listed
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    )
    return text, defaults, any(p.kind is p.VAR_KEYWORD for p in listed)


def _plain_value(value: object) -> bool:
    if isinstance(value, tuple):
        return all(_plain_value(one) for one in value)
    if type(value) not in (int, float, bool, str, bytes, type(None)):
        return False
    text = repr(value)
    return len(text) <= 40 and not _PERSONAL.search(text) and "/" not in text and "\\\\" not in text


def plain(text: str) -> str:
    """Docstring without its mark-up: the words that a reader would copy."""
    text = re.sub(r":(?:\w+:)+`~?([^`]+)`", r"\1", text)
    text = re.sub(r"``([^`\n]+)``|`([^`'\n]+)[`']", lambda m: m[1] or m[2], text)
    return re.sub(r"(?<![\w*(])(\*\*?)([A-Za-z_](?:[\w. -]*\w)?)\1(?![\w*])", r"\2", text)


def _blocks(doc: str) -> list[str]:
    """Paragraphs of a docstring: prose on one line, lists as they stand, no sessions at the prompt."""
    blocks = []
    for block in re.split(r"\n[ \t]*\n", plain(inspect.cleandoc(doc))):
        # No rules, and no `# ` at a line's start: in Markdown they would make headings.
        lines = [line.rstrip() for line in block.splitlines() if re.search(r"\w", line)]
        if not lines or any(">>>" in line for line in lines) or _PERSONAL.search(block):
            continue
        listed = any(line.startswith((" ", "\t")) or _ITEM.match(line) for line in lines)
        text = "\n".join(map(_one_line, lines)) if listed else _one_line(block)
        if re.search(r"\w", text):
            blocks.append(text)
    return blocks


def _one_line(text: str) -> str:
    return " ".join(text.split()).lstrip("# ")


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph; a short form such as `e.g.` ends none."""
    ends = re.split(r"(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!vs\.)(?<=[.!?])\s+(?=[A-Z(\"'])", paragraph)
    return [end for end in ends if end]


def _passages(name: Name, head: str, blocks: list[str]) -> tuple[Passage, ...]:
    parts: list[list[str]] = [[f"# {name.full}\n\n{head}"]]
    for block in blocks:
        if not _add(parts, name, block):
            pieces = block.split("\n") if "\n" in block else sentences(block)
            if not all(_add(parts, name, piece) for piece in pieces):
                break  # a sentence longer than a passage: what follows may lean on it
    if len(parts[0]) == 1 or weight(parts[0][0]) > LONGEST:
        return ()
    made = []
    for at, part in enumerate(parts[:PARTS]):
        file = re.sub(r"[^\w.\-]", "_", name.full) + (f".{at + 1}" if at else "")
        made.append(Passage(f"{file}.md", "\n".join(part)))
    return tuple(made)


def _add(parts: list[list[str]], name: Name, text: str) -> bool:
    if weight("\n".join([*parts[-1], text])) <= LONGEST:
        parts[-1].append(text)
        return True
    head = f"# {name.full}, part {len(parts) + 1}\n"
    if weight(f"{head}\n{text}") > LONGEST:
        return False
    parts.append([head, text])
    return True


def _without_doubles(made: list[Callable]) -> list[Callable]:
    """One of each docstring: an alias or a copied method would stand on both sides of a split."""
    kept: list[Callable] = []
    texts: set[str] = set()
    files: set[str] = set()
    for one in made:
        prose = "\n".join(one.blocks)
        body = prose if len(prose.split()) > 6 else f"{one.name.full}\n{prose}"
        file = one.passages[0].document.casefold()  # a disk may not tell Lock.md from lock.md
        if body in texts or file in files:
            continue
        texts.add(body)
        files.add(file)
        kept.append(one)
    return kept
