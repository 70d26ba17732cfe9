"""Does the same question, put another way, get the same right answer? The passage is left as it is.

Typing errors, capital letters, talk around the question and other framings, after the perturbation families
of CheckList (Ribeiro et al. 2020, arXiv:2005.04118).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from ...prompt import Message, conversation
from ...records.shapes import Fact
from ..items import Item
from ..quality import paired
from ..score import SCORES
from .room import Room, Row, is_chinese, share

WORD = re.compile(r"[^\W\d_]{4,}")
TYPOS = 8  # words for each typing error: a hurried typist's
Change = Callable[[str, random.Random], str]


def run(room: Room) -> dict[str, Fact]:
    """The loss of right answers by each change, paired by question."""
    framings = room.set("framings")

    def framed(kinds: Sequence[str]) -> Change:
        def change(question: str, chance: random.Random) -> str:
            language = "zh" if is_chinese(question) else "en"
            fitting = [row for row in framings if row["language"] == language and row["kind"] in kinds]
            return str(chance.choice(fitting)["text"]).replace("{question}", question)

        return change

    kinds = {row["kind"] for row in framings} - {"long"}
    changes: dict[str, Change] = {
        "typos": typos,
        "case": lambda question, chance: question.upper(),
        "length": framed(["long"]),
        "paraphrase": framed(sorted(kinds)),
    }
    right = {row["id"]: row for row in room.own}
    return {f"robust.{name}": _loss(room, change, right) for name, change in changes.items()}


def typos(question: str, chance: random.Random) -> str:
    """Two letters changed over in one of eight words, in one at least; in Chinese one written twice."""
    words = list(WORD.finditer(question))
    if not words or is_chinese(question):
        at = chance.randrange(len(question)) if question else 0
        return question[: at + 1] + question[at : at + 1] + question[at + 1 :]
    letters = list(question)
    for word in chance.sample(words, max(1, len(words) // TYPOS)):
        at = word.start() + chance.randrange(1, word.end() - word.start() - 1)
        letters[at], letters[at + 1] = letters[at + 1], letters[at]
    return "".join(letters)


def reworded(item: Item, change: Change, seed: int) -> list[Message]:
    """The messages of a pair with its last question changed."""
    chance = random.Random(f"{seed}:{item.id}")
    if item.question is not None:
        pair = {**item.pair, "question": change(item.question, chance)}
        return list(conversation(pair)[:-1])
    messages = conversation(item.pair)[:-1]
    return [*messages[:-1], {**messages[-1], "content": change(messages[-1]["content"], chance)}]


def _loss(room: Room, change: Change, right: Mapping[str, Row]) -> Fact:
    items = [item for item in room.pairs if item.id in right and item.stratum != "absent"][: room.items]
    if not items:
        return share([], [], room.seed, "the verdict has no answers to compare with")
    changed = list(_changed(room, items, change))
    lost, _ = paired([right[item.id] for item in items], changed, seed=room.seed)
    return lost


def _changed(room: Room, items: Sequence[Item], change: Change) -> Iterator[Row]:
    answers = room.answers([reworded(item, change, room.seed) for item in items])
    for item, answer in zip(items, answers, strict=True):
        score = SCORES[room.score](answer, item.answer)
        yield {"id": item.id, "group": item.group, "answerable": item.answerable, "right": score}
