"""What a probe works with: the model's answers, its chances of a text, and the project's pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import intervals
from ...engines.protocol import Engine, Request, complete
from ...errors import EngineError, SourceError
from ...prompt import Message, Prompter
from ...records.shapes import Fact
from ..items import Item, read_jsonl

BUILT_IN = Path(__file__).parents[1] / "sets"
CALLERS = 8
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Room:
    """A candidate on its engine, and the material. `own` are the answers that its verdict holds."""

    engine: Engine
    prompter: Prompter
    corpus: Path
    pairs: Sequence[Item]
    own: Sequence[Row]
    score: str
    answer_tokens: int
    items: int
    seed: int
    silence_s: float
    sets: Mapping[str, Path]

    def answers(self, asked: Sequence[Sequence[Message]], max_tokens: int | None = None) -> list[str]:
        """Greedy answers, in the order asked. Raises EngineError when the engine fails on one."""
        prompts = [tuple(self.prompter.prompt(messages)) for messages in asked]
        most = max_tokens or self.answer_tokens
        return [self.prompter.decode(ids) for ids in self.written(prompts, most, (self.prompter.end,))]

    def written(
        self, prompts: Sequence[tuple[int, ...]], max_tokens: int, stop: tuple[int, ...] = ()
    ) -> list[tuple[int, ...]]:
        """The tokens that follow each prompt."""
        requests = [Request(f"p{at}", prompt, max_tokens, stop) for at, prompt in enumerate(prompts)]
        done = complete(self.engine, requests, callers=CALLERS, limit_s=self.silence_s)
        for one in done:
            if one.finish not in ("stop", "length"):
                raise EngineError(f"{self.engine.name} failed on a probe: {one.error or one.finish}")
        return [one.tokens for one in done]

    def set(self, name: str) -> list[dict[str, Any]]:
        """The rows of a set: the project's own, or the built-in one. Raises SourceError without either."""
        path = self.sets.get(name, BUILT_IN / f"{name}.jsonl")
        rows = read_jsonl(path)
        if not rows:
            raise SourceError(
                f"the set {name} has no rows", where=str(path), try_=f"release.probes.sets.{name}"
            )
        return rows


def spread(rows: Sequence[Any], most: int) -> list[Any]:
    """At most `most` rows, evenly from the first to the last: of each language and category."""
    step = max(1.0, len(rows) / most)
    return [rows[int(at * step)] for at in range(min(most, len(rows)))]


def share(hits: Sequence[float], groups: Sequence[str], seed: int, note: str = "") -> Fact:
    """A share with its interval; unmeasured without anything asked."""
    if not hits:
        return Fact(None, "share", why=note or "nothing was asked")
    found = intervals.share(hits, groups, seed=seed)
    why = f"{note}; {found.items} asked" if note else f"{found.items} asked"
    return Fact(unit="share", **found.told(), why=why)


def is_chinese(text: str) -> bool:
    """Whether Chinese characters stand in the text."""
    return any("\u4e00" <= letter <= "\u9fff" for letter in text)
