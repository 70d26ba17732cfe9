"""What the answers of a verdict say besides their sum: the worst group, new kinds of question, and trust."""

from __future__ import annotations

import math

import numpy as np

from ... import intervals
from ...prompt import conversation
from ...records.shapes import Fact
from ..items import items, read_jsonl
from .room import Room, share

FEWEST = 5  # answers of a group: fewer say nothing of it
BINS = 5  # of calibration, with as many answers in each


def groups(room: Room) -> dict[str, Fact]:
    """Right answers in the group that has fewest, and on kinds of question that nobody trained on."""
    by_group: dict[str, list[float]] = {}
    for row in room.own:
        by_group.setdefault(str(row["group"]), []).append(float(row["right"]))
    large = {name: right for name, right in by_group.items() if len(right) >= FEWEST}
    worst = Fact(None, "share", why=f"no group has {FEWEST} answers")
    if large:
        name, right = min(large.items(), key=lambda pair: (sum(pair[1]) / len(pair[1]), pair[0]))
        worst = share(
            right, [str(at) for at in range(len(right))], room.seed, f"{name}, of {len(large)} groups"
        )
    seen = {item.kind for item in items(read_jsonl(room.corpus / "pairs.train.jsonl"))}
    new = [row for row in room.own if row["kind"] not in seen]
    unseen = share(
        [float(row["right"]) for row in new],
        [str(row["group"]) for row in new],
        room.seed,
        "kinds: " + ", ".join(sorted({row["kind"] for row in new})) if new else "every kind was trained on",
    )
    return {"groups.worst": worst, "groups.unseen_kind": unseen}


def calibration(room: Room) -> dict[str, Fact]:
    """The expected calibration error (Naeini et al. 2015) of the chance that an answer is given."""
    by_id = {item.id: item for item in room.pairs}
    rows = [row for row in room.own if row["id"] in by_id and row["answer"]][: room.items]
    if len(rows) < 2 * BINS:
        return {"calibration.ece": Fact(None, "share", why=f"fewer than {2 * BINS} answers")}
    chances, right = [], []
    for row in rows:
        prompt = room.prompter.prompt(conversation(by_id[row["id"]].pair)[:-1])
        answer = [*room.prompter.encode(row["answer"]), room.prompter.end]
        chances.append(math.exp(sum(room.engine.score(prompt, answer))))
        right.append(float(row["right"]))
    value = error(np.array(chances), np.array(right))
    draws = np.random.default_rng(room.seed).integers(0, len(rows), (intervals.RESAMPLES, len(rows)))
    found = [error(np.array(chances)[draw], np.array(right)[draw]) for draw in draws]
    low, high = np.quantile(found, [(1 - intervals.LEVEL) / 2, (1 + intervals.LEVEL) / 2])
    means = sum(right) / len(right), sum(chances) / len(chances)
    why = f"{BINS} bins; {means[0]:.2f} are right, {means[1]:.2f} would be by their chances"
    low, high = min(float(low), value), max(float(high), value)
    return {
        "calibration.ece": Fact(
            value, "share", n=len(rows), low=low, high=high, level=intervals.LEVEL, why=why
        )
    }


def error(chances: intervals.Array, right: intervals.Array) -> float:
    """Mean distance between chance and share of right answers over bins of equal size, weighted by size."""
    order = np.argsort(chances, kind="stable")
    bins = np.array_split(order, BINS)
    return float(sum(len(b) * abs(chances[b].mean() - right[b].mean()) for b in bins) / len(order))
