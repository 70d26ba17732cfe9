"""Who has been scored on the pairs of `report`: each look makes the next headline a little less honest.

The audit log remembers, whatever becomes of the records: it was told before each look and at each refusal.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from sqlalchemy import select

from ..errors import Refused
from ..records.shapes import Record
from ..records.tables import audit
from ..records.yard import Yard
from ..release.settings import CHOOSE
from ..verify.settings import MEASURE


@dataclass(frozen=True, slots=True)
class Look:
    """A candidate on an engine, and the pairs it was scored on."""

    pairs: str  # sha256 of pairs.report.jsonl
    model: str  # digest of the tuned model that the file was made from, in whatever steps
    file: str  # digest of the candidate
    engine: str


def look(corpus: Record, candidate: Record, engine: str) -> Look:
    """What the audit log is told before `candidate` on `engine` is scored on `report`."""
    recipe = candidate.json("recipe.json")
    model = str(recipe.get("tuned", recipe["model"]))
    return Look(corpus.files["pairs.report.jsonl"].sha256, model, candidate.digest, engine)


def earlier(yard: Yard, mine: Look) -> int:
    """How many other candidates had been scored on the same pairs when `mine` first was.

    Raises Refused when another file or engine of the same model failed on them: trying the next until one
    passes would choose by the pairs that are to judge the choice.
    """
    looks = _told(yard, f"{MEASURE.name}.asked", mine.pairs)
    for refused in _told(yard, f"{CHOOSE.name}.refused", mine.pairs):
        if refused.model == mine.model and refused != mine:
            raise Refused(
                "no release: another candidate of this model has failed on the pairs of report, "
                "and no second one is tried on them",
                where=f"file {refused.file[:16]} on {refused.engine} has failed",
                try_="a better tuned model, or new pairs to report on (another seed or hold_out splits anew)",
            )
    before = looks[: looks.index(mine)] if mine in looks else looks
    return len(dict.fromkeys(before))


def told(mine: Look) -> dict[str, str]:
    """A look as the audit log holds it."""
    return asdict(mine)


def _told(yard: Yard, action: str, pairs: str) -> list[Look]:
    if not yard.exists:
        return []
    with yard.ledger.read() as connection:
        rows = connection.execute(select(audit.c.body).where(audit.c.action == action).order_by(audit.c.seq))
        bodies = [json.loads(body) for (body,) in rows]
    return [
        Look(*(body[name] for name in ("pairs", "model", "file", "engine")))
        for body in bodies
        if body["pairs"] == pairs
    ]
