"""`try`: ask the project's release, on this machine, as the service would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .. import engines
from ..errors import EngineError, ProjectError
from ..grounding import NotStated, is_not_stated, put
from ..prompt import NOT_STATED, Prompter
from ..records.shapes import Record
from .place import Place
from .standing import standing
from .voice import Voice, translate, verb

SPARE_TOKENS = 8  # engines count a begin token or a last one differently
SILENCE_S = 120.0  # a model that says nothing for so long is hung


@click.command("try")
@click.argument("prompt")
@verb("try")
def try_(voice: Voice, folder: Path, prompt: str) -> None:
    """Ask the release a question; the answer comes with its source, or NOT STATED."""
    if not prompt.strip():
        raise ProjectError("the question is empty", try_='modelyard try "your question"')
    place = Place.at(folder)
    release, changed = standing(place, "release.choose")
    if changed:
        voice.warn(changed)
    result = _answer(release, prompt.strip())
    voice.done(result, lambda: _text(result))


def _answer(release: Record, question: str) -> dict[str, Any]:
    folder, told = release.folder, release.json("release.json")
    prompter = Prompter(folder)
    index = None
    if told["ground"]:
        from ..index.bm25 import Bm25

        index = Bm25.load(folder)
    passages = told["ground"]["passages"] if told["ground"] else 1
    placed = put(prompter, index, question, passages=passages)
    citations = [
        {
            "document": hit.document,
            "title": hit.title,
            "licence": hit.licence,
            "passage": hit.text,
            "score": hit.score,
        }
        for hit in placed.hits
    ]
    if isinstance(placed, NotStated):
        return _result(NOT_STATED, citations, release, 0, 0, placed.why)
    engine = engines.start(
        told["engine"],
        engines.model_path(folder),
        threads=told["threads"],
        lookup=told.get("lookup", False),
        callers=1,
        context_tokens=len(placed.prompt) + told["max_answer_tokens"] + SPARE_TOKENS,
        limit_s=SILENCE_S,
    )
    try:
        request = engines.Request("try", placed.prompt, told["max_answer_tokens"], (prompter.end,))
        (completion,) = engines.complete(engine, [request], callers=1, limit_s=SILENCE_S)
    finally:
        engine.close()
    if completion.finish not in ("stop", "length"):
        raise EngineError(
            f"{told['engine']} did not answer: {completion.error or completion.finish}",
            try_="the same question again, or `modelyard up --again verify.measure`",
        )
    answer = prompter.decode(completion.tokens).strip()
    return _result(answer, citations, release, len(placed.prompt), len(completion.tokens), "")


def _result(
    answer: str,
    citations: list[dict[str, Any]],
    release: Record,
    input_tokens: int,
    output_tokens: int,
    why: str,
) -> dict[str, Any]:
    stated = not is_not_stated(answer)
    return {
        "answer": answer,
        "stated": stated,
        "why": why,
        "citations": citations if stated else [],
        "release": release.id,
        "tokens": {"input": input_tokens, "output": output_tokens},
    }


def _text(result: dict[str, Any]) -> str:
    parts = [result["answer"]]
    if result["why"]:
        parts.append(f"  ({result['why']})")
    for citation in result["citations"]:
        passage = citation["passage"].strip().replace("\n", "\n  | ")
        source = translate(
            "source: {document} ({licence})", document=citation["document"], licence=citation["licence"]
        )
        parts += [f"  | {passage}", f"  {source}"]
    tokens = translate(
        "release {id}; {input} tokens read, {output} written",
        id=result["release"],
        input=result["tokens"]["input"],
        output=result["tokens"]["output"],
    )
    return "\n".join([*parts, f"  {tokens}"])
