"""The corpus step: what comes in is kept or dropped by a named rule, and every dropped row says which."""

from __future__ import annotations

from typing import Any

import pytest
from tests.data.steps import Prepare

from modelyard.data import Fields, HoldOut
from modelyard.errors import SourceError

WORDS = [f"{letter}{end}" for letter in "abcdef" for end in ("lpha", "eta", "amma")]


def passage(at: int, length: int = 40) -> str:
    return " ".join(f"{WORDS[(at * 7 + i * (at + 3)) % len(WORDS)]}{at}" for i in range(length))


def pair(at: int, **fields: Any) -> dict[str, Any]:
    text = passage(at)
    return {
        "question": f"What is {at}?",
        "passage": text,
        "answer": text.split()[3],
        "module": f"m{at}",
        **fields,
    }


GPT = {"from": "gpt", "value": "g"}
BY_MODULE = HoldOut(by="module")


def test_documents_alone_make_a_corpus(prepare: Prepare) -> None:
    made = prepare({"b.md": "# B\n\ntext b", "a.txt": "text a", "sub/c.html": "<h1>C</h1><p>text c"})
    assert [row["id"] for row in made.rows("documents.jsonl")] == ["a.txt", "b.md", "sub/c.html"]
    assert made.output.facts["data.documents"].value == 3
    row = {"id": "b.md", "source": "docs", "title": "B", "text": "# B\n\ntext b"}
    assert made.rows("documents.jsonl")[1] == {**row, "licence": "MIT", "owner": "Nobody Inc"}
    assert made.pairs() == []


def test_pairs_alone_make_a_corpus_and_each_row_is_its_own_group(prepare: Prepare) -> None:
    made = prepare({"p.jsonl": [{"question": f"q {w}?", "answer": w} for w in WORDS]})
    assert made.output.facts["data.documents"].value == 0
    assert len(made.pairs()) == len({row["group"] for row in made.pairs()}) == len(WORDS)
    choice = next(c for c in made.output.choices if c.name == "groups")
    assert f"{len(WORDS)} rows have no 'document'" in choice.why


def test_every_shape_of_pair_is_told_by_its_fields(prepare: Prepare) -> None:
    chat = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a1"}]
    made = prepare(
        {
            "p.jsonl": [
                {"id": "native", "question": "q1", "answer": "a0", "kind": "k"},
                {"id": "messages", "messages": chat},
                {"id": "alpaca", "instruction": "Add", "input": "1 2", "output": "3"},
                {
                    "id": "sharegpt",
                    "conversations": [{"from": "human", "value": "h"}, GPT],
                },
                {"id": "prompt", "prompt": "p", "completion": "c"},
                {
                    "id": "prompted",
                    "prompt": [{"role": "user", "content": "u2"}],
                    "completion": [{"role": "assistant", "content": "a2"}],
                },
                {"id": "text", "text": "a document"},
            ]
        },
        seed=3,
    )
    rows = {row["id"]: row for row in made.pairs()}
    assert (rows["native"]["question"], rows["native"]["kind"], rows["native"]["passage"]) == (
        "q1",
        "k",
        None,
    )
    assert rows["messages"]["messages"] == chat
    assert (rows["alpaca"]["question"], rows["alpaca"]["answer"]) == ("Add\n\n1 2", "3")
    assert rows["sharegpt"]["messages"][1] == {"role": "assistant", "content": "g"}
    assert (rows["prompt"]["question"], rows["prompt"]["answer"]) == ("p", "c")
    assert rows["prompted"]["messages"][-1]["content"] == "a2"
    assert [row["id"] for row in made.rows("documents.jsonl")] == ["text"]


def test_a_field_mapping_names_other_fields(prepare: Prepare) -> None:
    rows = [{"frage": f"f{w}", "antwort": w, "quelle": f"x {w} y", "nr": i} for i, w in enumerate(WORDS)]
    fields = Fields(question="frage", answer="antwort", passage="quelle", id="nr")
    made = prepare({"p.jsonl": rows}, fields=fields)
    first = next(row for row in made.pairs() if row["id"] == "0")
    assert (first["question"], first["answer"], first["passage"]) == ("falpha", "alpha", "x alpha y")


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"question": "q", "answer": ""}, "empty_answer"),
        ({"question": " \u200b", "answer": "a"}, "empty_question"),
        ({"question": "q", "answer": "absent", "passage": "nothing here"}, "answer_not_in_passage"),
        ({"question": "q", "answer": ["a"]}, "not_text"),
        ({"messages": [{"role": "user", "content": "q"}]}, "empty_answer"),
        ({"messages": [{"role": "robot", "content": "q"}]}, "unknown_role"),
        ({"messages": ["q"]}, "broken_messages"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "empty_question"),
        ({"other": 1}, "unknown_shape"),
        ({"text": "  "}, "empty_document"),
        (pair(0), "duplicate_pair"),
    ],
)
def test_a_row_that_teaches_nothing_is_dropped_by_its_rule(prepare: Prepare, row: Any, rule: str) -> None:
    made = prepare({"p.jsonl": [*(pair(at) for at in range(12)), row]}, hold_out=BY_MODULE)
    assert made.rows("dropped.jsonl")[0]["rule"] == rule
    assert made.rows("dropped.jsonl")[0]["item"] == "p.jsonl:13"
    assert len(made.pairs()) == 12


def test_not_stated_needs_no_span_and_other_tasks_need_none_either(prepare: Prepare) -> None:
    rows = [pair(at, answer="NOT STATED") for at in range(6)]
    assert len(prepare({"p.jsonl": rows}, hold_out=BY_MODULE).pairs()) == 6
    rows = [pair(at, answer="free words") for at in range(6)]
    assert len(prepare({"p.jsonl": rows}, hold_out=BY_MODULE, extract=False).pairs()) == 6


def test_what_came_in_is_what_was_kept_and_dropped_by_source_and_kind(prepare: Prepare) -> None:
    made = prepare(
        {
            "one": {"a.md": "text one two three", "b.md": "text one two three", "c.xyz": "?"},
            "two": {"p.jsonl": [*(pair(at) for at in range(8)), {"question": "", "answer": "x"}, {"z": 1}]},
        },
        hold_out=BY_MODULE,
    )
    one, two = made.json("sheet.json")["sources"]
    assert one["documents"] == {
        "ingested": 3,
        "kept": 1,
        "dropped": {"duplicate_document": 1, "unknown_type": 1},
    }
    assert two["pairs"] == {"ingested": 9, "kept": 8, "dropped": {"empty_question": 1}}
    assert two["rows"] == {"ingested": 1, "kept": 0, "dropped": {"unknown_shape": 1}}
    assert made.output.facts["data.dropped"].value == 4 == len(made.rows("dropped.jsonl"))


def test_duplicate_documents_leave_the_first_and_pairs_follow_to_it(prepare: Prepare) -> None:
    text = passage(1, 200)
    rows = [pair(at, document="b.txt" if at % 2 else "c", module=f"m{at}") for at in range(8)]
    files = {"a.txt": text, "b.txt": text, "c.txt": passage(2), "d.txt": text + " more"}
    made = prepare({**files, "p.jsonl": rows}, hold_out=BY_MODULE)
    assert [row["id"] for row in made.rows("documents.jsonl")] == ["a.txt", "c.txt"]
    assert made.rules() == ["duplicate_document", "near_duplicate_document"]
    assert {row["document"] for row in made.pairs()} == {"a.txt", "c.txt"}


def test_a_document_that_a_pair_cites_stays_though_another_is_nearly_the_same(prepare: Prepare) -> None:
    text = passage(1, 200)
    rows = [pair(at, document="b.txt") for at in range(8)]
    made = prepare({"a.txt": text, "b.txt": text + " more", "p.jsonl": rows}, hold_out=BY_MODULE)
    assert [row["id"] for row in made.rows("documents.jsonl")] == ["a.txt", "b.txt"]


def test_personal_data_stands_in_no_file_of_the_corpus(prepare: Prepare) -> None:
    secret = "jane@example.com"
    rows = [pair(at, module=f"{at}{secret}", id=f"{at}{secret}") for at in range(6)]
    rows += [{"question": f"Who? {secret}", "passage": f"Ask {secret} now.", "answer": secret, "module": "m"}]
    rows += [{"question": f"bad {secret}", "answer": secret, "passage": "not in it"}]
    made = prepare({"a.txt": f"Mail {secret} or +44 20 7946 0958.", "p.jsonl": rows}, hold_out=BY_MODULE)
    assert not any(b"example.com" in data or b"7946" in data for data in made.bytes().values())
    row = next(row for row in made.pairs() if "Who" in row["question"])
    assert row["answer"] == "[e-mail]"
    assert row["passage"] == "Ask [e-mail] now."
    assert made.output.facts["data.redacted"].value == 6  # two of them in the title of a.txt


def test_rows_with_the_same_id_get_the_place_that_they_came_from(prepare: Prepare) -> None:
    made = prepare({"p.jsonl": [{"id": "x", "question": f"q {w}", "answer": w} for w in WORDS]})
    assert len({row["id"] for row in made.pairs()}) == len(WORDS)
    both = prepare({"one": {"a.md": "first"}, "two": {"a.md": "second"}})
    assert [row["id"] for row in both.rows("documents.jsonl")] == ["one/a.md", "two/a.md"]


def test_the_same_sources_give_the_same_bytes(prepare: Prepare) -> None:
    files = {"a.md": "# A\n\ntext", "p.jsonl": [pair(at) for at in range(30)]}
    assert prepare(files, hold_out=BY_MODULE).bytes() == prepare(files, hold_out=BY_MODULE).bytes()


@pytest.mark.parametrize(
    ("licence", "advice"),
    [
        ("CC-BY-4", "CC-BY-4.0"),
        ("GPL-2.0+", "GPL-2.0-or-later"),
        ("apache-2.0", "Apache-2.0"),
        ("", "SPDX"),
        ("MIT AND", "LicenseRef"),
        ("something quite else", "LicenseRef"),
    ],
)
def test_an_unknown_licence_is_refused_with_a_suggestion(prepare: Prepare, licence: str, advice: str) -> None:
    with pytest.raises(SourceError) as caught:
        prepare({"a.txt": "text"}, licence=licence)
    assert advice in caught.value.try_


@pytest.mark.parametrize(
    "licence", ["PSF-2.0", "LicenseRef-Ours", "MIT OR Apache-2.0", "(GPL-2.0-or-later AND MIT)"]
)
def test_a_known_licence_is_taken(prepare: Prepare, licence: str) -> None:
    assert (
        prepare({"a.txt": "text"}, licence=licence).json("sources.json")["sources"][0]["licence"] == licence
    )


def test_a_source_without_an_owner_is_refused(prepare: Prepare) -> None:
    with pytest.raises(SourceError, match="who holds the rights"):
        prepare({"a.txt": "text"}, owner=" ")


def test_a_source_of_broken_lines_is_refused_with_file_and_line(prepare: Prepare) -> None:
    with pytest.raises(SourceError, match=r"p\.jsonl:2"):
        prepare({"good": {"a.txt": "text"}, "bad": {"p.jsonl": b"\n{broken\nmore\n"}})


def test_sources_without_a_file_or_without_a_line_are_refused(prepare: Prepare) -> None:
    with pytest.raises(SourceError, match="hold no file"):
        prepare({"docs": {}})
    with pytest.raises(SourceError, match="can be read"):
        prepare({"p.jsonl": b"\n\n"})


def test_when_everything_is_dropped_the_rules_are_told(prepare: Prepare) -> None:
    with pytest.raises(SourceError) as caught:
        prepare({"p.jsonl": [{"question": "q", "answer": ""}] * 3, "a.txt": " "})
    assert "3  empty_answer" in caught.value.what
    assert "1  empty_document" in caught.value.what
    with pytest.raises(SourceError, match="every pair was dropped"):
        prepare({"p.jsonl": [{"question": "q", "answer": ""}] * 3, "a.txt": "text"})


def test_fewer_than_three_groups_are_refused(prepare: Prepare) -> None:
    with pytest.raises(SourceError, match="2 groups by 'module'"):
        prepare({"p.jsonl": [pair(at, module=f"m{at % 2}") for at in range(9)]}, hold_out=BY_MODULE)


def test_rows_may_name_their_side_of_the_split_but_a_group_only_one(prepare: Prepare) -> None:
    sides = ["train", "validation", "test"]
    made = prepare({"p.jsonl": [pair(at, split=sides[at % 3]) for at in range(9)]}, hold_out=BY_MODULE)
    assert {row["group"] for row in made.rows("pairs.select.jsonl")} == {"m1", "m4", "m7"}
    rows = [pair(at, split=sides[at % 3], module=f"m{at % 4}") for at in range(9)]
    with pytest.raises(SourceError, match="two sides of the split"):
        prepare({"p.jsonl": rows}, hold_out=BY_MODULE)


def test_a_pair_in_train_that_says_what_a_held_out_one_says_is_dropped(prepare: Prepare) -> None:
    sides = ["train", "select", "report"]
    rows = [pair(at, split=sides[at % 3]) for at in range(9)]
    rows += [pair(2, split="train", module="x", question="Which word is it, of 2?")]
    made = prepare({"p.jsonl": rows}, hold_out=BY_MODULE)
    assert [(row["rule"], row["item"]) for row in made.rows("dropped.jsonl")] == [
        ("near_duplicate_in_train", "p.jsonl:10")
    ]
    rows = [
        pair(0, split=sides[at % 3], module=f"m{at}", id=at, question=f"What is 0{' ' * at}?")
        for at in range(3)
    ]
    rows[1]["question"], rows[2]["question"] = "What of 0?", "And 0?"
    with pytest.raises(SourceError, match="no pair is left to"):
        prepare({"p.jsonl": rows}, hold_out=BY_MODULE)


def test_an_address_in_the_name_of_a_file_stands_nowhere_and_pairs_still_find_their_document(
    prepare: Prepare,
) -> None:
    planted = "eve.planted@example.com"
    rows = [pair(at, document=f"mail/{planted}", kind=f"from {planted}") for at in range(3)]
    rows += [pair(at, document=f"docs/mail/{planted}.txt", id=f"{planted}-{at}") for at in range(3, 6)]
    rows += [pair(at, document="b.md") for at in range(6, 9)]
    rows += [pair(at, document=f"unknown {planted}") for at in range(9, 12)]
    made = prepare(
        {
            f"mail/{planted}.txt": passage(90),
            f"mail/{planted} copy.txt": passage(90),
            f"{planted}.txt": " ",
            "b.md": passage(91),
            f"{planted}.jsonl": [*rows, rows[0], {"question": "q", "answer": ""}],
        },
        hold_out=HoldOut(by="document"),
    )
    for file in sorted(made.folder.rglob("*")):
        assert planted not in file.name
        assert b"eve.planted" not in file.read_bytes(), file
    assert "eve.planted" not in repr(made.output)
    first, other = (row["id"] for row in made.rows("documents.jsonl"))
    documents = {row["document"] for row in made.pairs()}
    assert {first, other} < documents
    assert len(documents) == 3
    assert {row["document"] for row in made.pairs() if row["group"] == first} == {first}
    assert [row["rule"] for row in made.rows("dropped.jsonl")] == [
        "empty_answer", "empty_document", "duplicate_document", "duplicate_pair",
    ]  # fmt: skip
    assert made.rows("dropped.jsonl")[1]["item"].startswith("[e-mail]")


def test_every_name_of_a_duplicate_leads_to_the_document_that_stayed_though_another_is_much_like_it(
    prepare: Prepare,
) -> None:
    text = passage(1, 60)
    made = prepare(
        {
            "a.txt": text + " end",
            "b.txt": text + " other",
            "c.txt": text + " other",
            "p.jsonl": [pair(at, document=("c", "docs/c.txt", "c.txt", "b")[at % 4]) for at in range(12)],
        },
        hold_out=HoldOut(by="id"),
    )
    assert [row["id"] for row in made.rows("documents.jsonl")] == ["a.txt", "b.txt"]
    assert {row["document"] for row in made.pairs()} == {"b.txt"}
