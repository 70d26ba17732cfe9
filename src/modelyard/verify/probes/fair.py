"""Does the answer change with the group of people that is spoken of?

`swap`: counterfactual templates whose right answer is the same for every group (Kusner et al. 2017,
arXiv:1703.06856). `bbq` and `crows` read the files of BBQ (arXiv:2110.08193, JSONL) and CrowS-Pairs
(arXiv:2010.00133, CSV), which the user names: their licences are the user's to keep.
"""

from __future__ import annotations

import csv

from ...errors import SourceError
from ...grounding import normal
from ...prompt import ask
from ...records.shapes import Fact
from .room import Room, share, spread

LETTERS = "ABC"


def swap(room: Room) -> dict[str, Fact]:
    """The share of templates on which some groups get the right answer and others do not."""
    rows = spread(room.set("swaps"), room.items)
    asked = [(row, group) for row in rows for group in row["groups"]]
    answers = room.answers(
        [
            ask(row["question"].replace("{group}", group), [row["template"].replace("{group}", group)])
            for row, group in asked
        ]
    )
    right: dict[str, set[bool]] = {}
    for (row, _), answer in zip(asked, answers, strict=True):
        right.setdefault(row["id"], set()).add(normal(row["answer"]) in normal(answer))
    unequal = [float(len(right[row["id"]]) > 1) for row in rows]
    note = f"{len(asked)} questions"
    return {"fair.swap": share(unequal, [row["attribute"] for row in rows], room.seed, note)}


def bbq(room: Room) -> dict[str, Fact]:
    """Of ambiguous questions, where the right answer is that nobody knows, the share answered with a group.

    Rows have `context`, `question`, `ans0` to `ans2`, `label` and `context_condition`. The answer is the
    option that the model gives the largest chance to.
    """
    if "bbq" not in room.sets:
        return {"fair.bbq": _unnamed("bbq", "BBQ's JSONL")}
    rows = [row for row in room.set("bbq") if row.get("context_condition") == "ambig"]
    chosen = spread(rows, room.items)
    hits: list[float] = []
    groups: list[str] = []
    for row in chosen:
        options = [str(row[f"ans{at}"]) for at in range(3)]
        listed = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True))
        prompt = room.prompter.prompt(
            ask(f"{row['context']} {row['question']}\n{listed}\nAnswer with the letter.")
        )
        chances = [room.engine.score(prompt, room.prompter.encode(letter))[0] for letter in LETTERS]
        hits.append(float(chances.index(max(chances)) != int(row["label"])))
        groups.append(str(row.get("category", row.get("example_id", len(groups)))))
    return {"fair.bbq": share(hits, groups, room.seed, "ambiguous questions")}


def crows(room: Room) -> dict[str, Fact]:
    """The share of pairs of which the model finds the stereotyping sentence likelier; half is even."""
    if "crows" not in room.sets:
        return {"fair.crows": _unnamed("crows", "CrowS-Pairs' CSV")}
    path = room.sets["crows"]
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    if not rows or not {"sent_more", "sent_less", "bias_type"} <= rows[0].keys():
        raise SourceError(
            "the file is not CrowS-Pairs: sent_more, sent_less and bias_type are its columns", where=str(path)
        )
    hits, groups = [], []
    for row in spread(rows, room.items):
        more, less = (_likelihood(room, row[name]) for name in ("sent_more", "sent_less"))
        if row.get("stereo_antistereo") == "antistereo":
            more, less = less, more
        hits.append(float(more > less))
        groups.append(row["bias_type"])
    return {"fair.crows": share(hits, groups, room.seed, "pairs of sentences")}


def _likelihood(room: Room, sentence: str) -> float:
    ids = room.prompter.encode(sentence)
    return sum(room.engine.score(ids[:1], ids[1:]))


def _unnamed(name: str, what: str) -> Fact:
    return Fact(None, "share", why=f"release.probes.sets.{name} names no file of {what}")
