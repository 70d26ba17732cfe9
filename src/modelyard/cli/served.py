"""The release that a verb is about: a named one, or that which is served."""

from __future__ import annotations

from ..errors import ProjectError
from ..records.shapes import Record
from .place import Place


def found(place: Place, id: str | None, *, signed: bool = True) -> Record:
    """The release whose id begins with `id`, or that which is served, every file of it checked.

    `signed`: its signature too, where the project demands one. Raises ProjectError where there is none,
    RecordError for one that was tampered with.
    """
    from ..serve import released, rollback

    if id is None:
        with place.yard.ledger.read() as connection:
            id = rollback.served(connection)
    if id is None:
        raise ProjectError("there is no release yet", try_="modelyard up")
    record = place.yard.one(id)
    settings = place.project.serve
    signed_by = settings.signed_by if signed else None
    released.load(place.yard, record.id, context_tokens=settings.context_tokens, signed_by=signed_by)
    return record
