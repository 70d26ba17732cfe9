"""Errors speak both languages: every sentence that is raised has its Chinese, and gets its values."""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelyard
from modelyard import errors
from modelyard.cli import messages

SOURCE = Path(modelyard.__file__).parent
CATALOGUE: dict[str, str] = json.loads((SOURCE / "cli" / messages.CATALOGUE).read_text("utf-8"))
WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)


def family(root: type[errors.ModelyardError] = errors.ModelyardError) -> set[str]:
    """The names of all error classes."""
    return {root.__name__}.union(*(family(child) for child in root.__subclasses__()))


Values = Mapping[str, Sequence[ast.expr]]


def templates(node: ast.expr, values: Values) -> list[str]:
    """The sentences that an expression may make, with {} for what is filled in.

    What the source itself words in a variable, an argument or a plural's s is part of the sentence.
    """
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return ["".join(each) for each in product(*(templates(part, values) for part in parts))]
        case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
            return templates(value, values)
        case ast.BinOp(op=ast.Add()):
            both = product(templates(node.left, values), templates(node.right, values))
            return ["{}" if left == right == "{}" else left + right for left, right in both]
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mult()):
            return [text, ""]
        case ast.IfExp():
            return templates(node.body, values) + templates(node.orelse, values)
        case ast.BoolOp(op=ast.Or()):
            return [text for value in node.values for text in templates(value, values)]
        case ast.Name(id=name) if name in values:
            others = {other: found for other, found in values.items() if other != name}
            found = {text for value in values[name] for text in templates(value, others)}
            return sorted({text if " " in text or not text else "{}" for text in found})
    return ["{}"]


def assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """The names that a module or a function gives a value, with the value."""
    for inner in ast.walk(node):
        match inner:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value


def passed(
    function: ast.FunctionDef | ast.AsyncFunctionDef, module: ast.Module
) -> Iterator[tuple[str, ast.expr]]:
    """The parameters of a function, with what its own module calls it with."""
    for inner in ast.walk(module):
        if isinstance(inner, ast.Call) and getattr(inner.func, "id", "") == function.name:
            yield from zip((argument.arg for argument in function.args.args), inner.args, strict=False)
            yield from ((keyword.arg or "", keyword.value) for keyword in inner.keywords)


def errors_in(node: ast.AST, module: ast.Module, values: Values, names: set[str]) -> Iterator[str]:
    """The sentences of the errors that are made below `node`."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        own: dict[str, list[ast.expr]] = defaultdict(list)
        for name, value in (*assigned(node), *passed(node, module)):
            own[name].append(value)
        values = {**values, **own}
    if (
        isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Check"
    ):  # of doctor: found, what to try
        for part in node.args[2:]:
            yield from templates(part, values)
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names:
        for part in (*node.args[:1], *(k.value for k in node.keywords if k.arg == "try_")):
            yield from templates(part, values)
    for child in ast.iter_child_nodes(node):
        yield from errors_in(child, module, values, names)


def raised() -> set[str]:
    """Every sentence of an error and every advice in the source."""
    found: set[str] = set()
    names = family()
    for path in SOURCE.rglob("*.py"):
        module = ast.parse(path.read_text("utf-8"))
        lines = (line for line in module.body if isinstance(line, ast.Assign))
        constants = {name: [value] for line in lines for name, value in assigned(line)}
        found.update(errors_in(module, module, constants, names))
    return {text for text in found if re.search(r"[A-Za-z]{2}", text.replace("{}", ""))}


def is_command(text: str) -> bool:
    """Something to type and nothing else, the same in every language."""
    return bool(
        re.fullmatch(
            r"`(modelyard|up) [^`]+`|(modelyard|pip|export|--)[^,;`]*|pip install '[^']+'|apt install \w+",
            text,
        )
    )


def test_every_sentence_of_an_error_is_there_in_chinese() -> None:
    assert sorted(text for text in raised() - set(CATALOGUE) if not is_command(text)) == []


def test_the_catalogue_holds_no_sentence_that_nobody_says() -> None:
    assert sorted(set(CATALOGUE) - raised()) == []


@pytest.mark.parametrize("english", sorted(CATALOGUE))
def test_a_translation_takes_what_its_sentence_has(english: str) -> None:
    places = [int(at) for at in re.findall(r"\{(\d+)\}", CATALOGUE[english])]
    assert sorted(set(places)) == list(range(english.count("{}")))


@given(st.sampled_from(sorted(e for e in CATALOGUE if "{}" in e)), st.data())
def test_what_filled_a_sentence_is_found_again(english: str, data: st.DataObject) -> None:
    values = [data.draw(WORDS) for _ in range(english.count("{}"))]
    said = "".join(a + b for a, b in zip(english.split("{}"), [*values, ""], strict=True))
    chinese = messages.localise(said)
    assert chinese != said
    assert all(value in chinese for value in values)


def test_a_sentence_that_is_not_known_stays() -> None:
    assert messages.localise("nobody ever said this") == "nobody ever said this"
