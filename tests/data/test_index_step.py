"""The index step: passages found and cited in two languages, and a score limit that holds its promise."""

from __future__ import annotations

import json

import pytest
from tests.data.steps import Index, Prepare

from modelyard.data import Ground
from modelyard.errors import SourceError
from modelyard.index import Bm25

THINGS = [
    "pump",
    "valve",
    "motor",
    "sensor",
    "filter",
    "boiler",
    "gauge",
    "switch",
    "relay",
    "fuse",
    "lamp",
    "tank",
]
PARTS = ["housing", "spring", "cable", "cover"]


def manual() -> dict[str, str]:
    """Twelve documents about one thing each; each heading has that thing's name and a word that all share."""
    return {
        f"{thing}.md": f"# {thing} manual\n\nAll about it.\n\n"
        + "".join(
            f"## {thing} {part} care\n\nClean the {thing} {part} with a soft cloth every {i + 2} weeks.\n\n"
            for i, part in enumerate(PARTS)
        )
        for thing in THINGS
    }


def test_a_limit_is_calibrated_that_at_most_five_percent_of_the_absent_reach(
    prepare: Prepare, index: Index
) -> None:
    made = index(prepare(manual()), ground=Ground(passage_tokens=32))
    about = made.json("index.json")
    assert about["calibration"]["left_out"] == "document"
    assert about["calibration"]["queries"] >= 20
    false_accept = made.output.facts["index.false_accept"]
    assert false_accept.value is not None
    # Measured on questions that a limit was not chosen on, so it may lie a little above what was asked for.
    assert false_accept.value <= 0.1
    assert false_accept.high > false_accept.value
    assert "made from headings" in false_accept.why
    assert "made from headings" in made.output.choices[0].why
    assert about["limit"] == made.output.facts["index.score_limit"].value > 0
    found = Bm25.load(made.folder)
    present = found.search("How often should I clean the pump spring?", 1)
    assert (present[0].document, present[0].heading) == ("pump.md", "pump spring care")
    assert found.stated(present)
    assert not found.stated(found.search("How often should I feed the parrot?", 1))


def test_with_few_documents_sections_are_left_out(prepare: Prepare, index: Index) -> None:
    things = [f"{thing} kind{chr(97 + i)}" for i, thing in enumerate(THINGS * 2)]
    text = "".join(f"## {thing}\n\nThe {thing} needs {'some care and ' * 10}rest.\n\n" for thing in things)
    made = index(prepare({"all.md": text}), ground=Ground(passage_tokens=32))
    assert made.json("index.json")["calibration"]["left_out"] == "section"


def test_without_headings_there_is_no_limit_and_the_choice_says_so(prepare: Prepare, index: Index) -> None:
    made = index(
        prepare({"a.txt": "One plain text about pumps and valves, in a single line without end" * 3})
    )
    assert made.json("index.json")["limit"] is None
    assert made.output.facts["index.score_limit"].value is None
    assert "headings" in made.output.facts["index.score_limit"].why
    assert made.output.choices[0].value == "none"
    found = Bm25.load(made.folder)
    assert found.stated(found.search("pumps", 1))
    assert not found.stated(found.search("parrot", 1))


def test_retrieval_is_measured_where_pairs_name_their_document(prepare: Prepare, index: Index) -> None:
    rows = [
        {
            "question": f"How should I clean the {part} of a {thing}, in words?",
            "answer": f"the {thing} {part} with a soft cloth",
            "passage": f"Clean the {thing} {part} with a soft cloth.",
            "document": f"{thing}.md",
        }
        for thing in THINGS
        for part in PARTS
    ]
    corpus = prepare({**manual(), "p.jsonl": rows})
    hit = index(corpus, ground=Ground(passage_tokens=32)).output.facts["retrieval.hit"]
    assert hit.value == hit.high == 1.0 > hit.low > 0
    assert hit.n == len({row["document"] for row in corpus.rows("pairs.select.jsonl")})
    for row in rows:
        row["document"] = f"{THINGS[(THINGS.index(str(row['document'])[:-3]) + 1) % 12]}.md"
    other = prepare({**manual(), "p.jsonl": rows})
    assert index(other, ground=Ground(passage_tokens=32)).output.facts["retrieval.hit"].value == 0.0


def test_without_such_pairs_retrieval_is_unmeasured_and_says_why(prepare: Prepare, index: Index) -> None:
    hit = index(prepare(manual())).output.facts["retrieval.hit"]
    assert (hit.value, hit.why) == (None, "no answerable pair of select names its document")


def test_a_corpus_without_documents_cannot_be_indexed(prepare: Prepare, index: Index) -> None:
    corpus = prepare({"p.jsonl": [{"question": f"q {thing}", "answer": thing} for thing in THINGS]})
    with pytest.raises(SourceError, match="no document"):
        index(corpus)


def test_the_same_corpus_gives_the_same_bytes(prepare: Prepare, index: Index) -> None:
    corpus = prepare(manual())
    assert index(corpus).bytes() == index(corpus).bytes()


def test_languages_are_told(prepare: Prepare, index: Index) -> None:
    files = {
        "a.txt": "The pump is in the cellar of the house and it is old.",
        "b.txt": "水泵在地下室里，已经很旧了。",
    }
    assert index(prepare(files)).json("index.json")["languages"] == {"en": 1, "zh": 1}


def test_json_has_sorted_keys(prepare: Prepare, index: Index) -> None:
    text = (index(prepare(manual())).folder / "index.json").read_text("utf-8")
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=2, ensure_ascii=False) + "\n"
