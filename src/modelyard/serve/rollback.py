"""Which release is served: the newest that was made or put back, whichever came later."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select

from ..bill.period import to_us
from ..errors import ProjectError
from ..records import audit
from ..records.tables import record
from ..records.tables.service import serving

STEP = "release.choose"


def served(connection: Connection) -> str | None:
    """The id of the release to serve; None while there is none."""
    made = select(record.c.id, record.c.ended).where(record.c.step == STEP)
    newest = connection.execute(made.order_by(record.c.ended.desc(), record.c.id).limit(1)).first()
    put_back = connection.execute(
        select(serving.c.release_id, serving.c.at_us).order_by(serving.c.seq.desc()).limit(1)
    ).first()
    if newest is None:
        return None
    if put_back is not None and put_back.at_us >= to_us(datetime.fromisoformat(newest.ended)):
        return str(put_back.release_id)
    return str(newest.id)


def before(connection: Connection) -> str:
    """The release that was made before the one that is served. Raises ProjectError when there is none."""
    now = served(connection)
    made = connection.execute(
        select(record.c.id).where(record.c.step == STEP).order_by(record.c.ended.desc(), record.c.id)
    ).scalars()
    ids = [str(id) for id in made]
    earlier = ids[ids.index(now) + 1 :] if now in ids else []
    if not earlier:
        raise ProjectError(
            "there is no earlier release to go back to", try_="modelyard show release tells which there are"
        )
    return earlier[0]


def roll_back(connection: Connection, id: str, why: str, at_us: int) -> None:
    """Serve `id` from now on, until a newer release is made or another is put back."""
    audit.append(connection, "release.roll-back", id, {"from": served(connection), "at_us": at_us})
    connection.execute(insert(serving).values(release_id=id, at_us=at_us, why=why))
