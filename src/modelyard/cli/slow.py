"""`why slow`: which part of the service's way takes the time, and what would help."""

from __future__ import annotations

from dataclasses import asdict

from ..records.clock import now_us
from ..serve.slow import ADVICE, Stage, slow
from .place import Place
from .table import table
from .voice import Voice, translate

DAY_US = 24 * 3600 * 1_000_000


def why_slow(voice: Voice, place: Place) -> None:
    """Look at the requests of the last day."""
    with place.yard.ledger.read() as connection:
        found = slow(connection, now_us() - DAY_US)
    advice = ADVICE[found.bottleneck] if found.bottleneck else None
    result = {
        "requests": found.requests,
        "median_us": found.median_us,
        "p95_us": found.p95_us,
        "bottleneck": found.bottleneck,
        "advice": advice,
        "stages": [asdict(stage) for stage in found.stages],
    }

    def text() -> str:
        if advice is None or found.bottleneck is None:
            return translate("no request was answered in the last day, so nothing is known")
        first = translate(
            "the bottleneck is {stage}: {share} of the time of {n} requests (median {median}, p95 {p95} ms)",
            stage=translate(found.bottleneck),
            share=_share(found.stages[0]),
            n=found.requests,
            median=_ms(found.median_us),
            p95=_ms(found.p95_us),
        )
        rows = [[translate(s.name), _share(s), _ms(s.median_us), _ms(s.p95_us)] for s in found.stages]
        told = table(["part", "share", "median ms", "p95 ms"], rows)
        return "\n\n".join([first, told, translate("what would help: {advice}", advice=translate(advice))])

    voice.done(result, text)


def _share(stage: Stage) -> str:
    return f"{stage.per_mille // 10}.{stage.per_mille % 10}%"


def _ms(us: int) -> str:
    return f"{us // 1000}.{us % 1000 // 100}"
