"""The line as it runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..flow import Done, Node, Watcher
from .table import duration, measured
from .voice import Voice, translate

PLAIN_S = 15.0  # between two plain lines of one step, so that a log stays readable

# The facts that a person looks for when a step ends.
TELLING = {
    "data.answer": ("data.answers", "data.answers.failed", "data.answers.output_tokens"),
    "data.prepare": (
        "data.documents",
        "data.pairs.train",
        "data.pairs.select",
        "data.pairs.report",
        "data.pairs.generated",
        "data.dropped",
    ),
    "data.index": ("index.passages", "retrieval.hit", "index.score_limit"),
    "train.base": ("model.parameters",),
    "train.tune": (
        "train.tokens",
        "train.tps",
        "train.roof_share",
        "train.loss_select_before",
        "train.loss_select",
        "forget.loss_rise",
        "train.memory_peak_gib",
    ),
    "optimize.convert": ("candidate.size_mib",),
    "verify.reference": ("parity.identity", "parity.kl"),
    "verify.lookup": ("lookup.same", "lookup.speedup.c1", "lookup.speedup.mix"),
    "verify.measure": ("parity.fault", "quality.task", "latency.ttft_p95_s.c1", "cost.usd_per_1k_answers"),
    "release.choose": ("quality.task", "quality.grounded", "gain.task", "cost.usd_per_1k_answers"),
}


class Plain(Watcher):
    """Prints a line when a step begins, now and then while it runs, and when it ends."""

    def __init__(self, voice: Voice, plan: Callable[[], str]) -> None:
        self._voice = voice
        self._plan = plan
        self._planned = False
        self._told = 0.0

    def begins(self, node: Node) -> None:
        if not self._planned:
            self._planned = True
            self._voice.story(self._plan() + "\n")
        self._told = time.monotonic()
        self.show(f"{node.name} …")

    def progress(self, node: Node, line: dict[str, Any]) -> None:
        if time.monotonic() - self._told >= PLAIN_S:
            self._told = time.monotonic()
            self.show("  " + describe(line))

    def ends(self, done: Done) -> None:
        if done.state == "kept" or done.record is None:
            return
        found = [
            f"{name} {measured(done.record.facts[name])}"
            for name in TELLING.get(done.node.step.name, ())
            if name in done.record.facts and done.record.facts[name].value is not None
        ]
        self.show(f"{done.node.name}  {duration(done.seconds)}  {'  '.join(found)}")

    def show(self, text: str) -> None:
        self._voice.story(text)

    def close(self) -> None:
        """The walk is over."""


class Bar(Plain):
    """On a terminal: the running step has a bar with rate and time left."""

    def __init__(self, voice: Voice, plan: Callable[[], str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        super().__init__(voice, plan)
        self._console = Console(stderr=True, highlight=False)
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[tail]}"),
        )
        self._bar = Progress(*columns, console=self._console, transient=True)
        self._task: Any = None

    def begins(self, node: Node) -> None:
        if not self._planned:
            self._planned = True
            self._voice.story(self._plan() + "\n")
        self._bar.start()
        self._task = self._bar.add_task(node.name, total=None, tail="")

    def progress(self, node: Node, line: dict[str, Any]) -> None:
        self._bar.update(self._task, completed=line.get("done"), total=line.get("total"), tail=describe(line))

    def ends(self, done: Done) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._bar.stop()
            self._task = None
        super().ends(done)

    def show(self, text: str) -> None:
        self._console.print(text, markup=False)

    def close(self) -> None:
        self._bar.stop()


class Silent(Plain):
    """For `--json`: nothing on stdout but the object, nothing on stderr but warnings."""

    def show(self, text: str) -> None:
        return

    def begins(self, node: Node) -> None:
        return


def watcher(voice: Voice, plan: Callable[[], str]) -> Plain:
    """The view that fits: silent for JSON, a bar on a terminal, else plain lines."""
    if voice.json:
        return Silent(voice, plan)
    return Bar(voice, plan) if sys.stderr.isatty() else Plain(voice, plan)


def describe(line: Mapping[str, Any]) -> str:
    """A progress line in words: what, how far, and its numbers."""
    parts = [translate(str(line["text"]))]
    if line.get("total"):
        parts.append(f"{line.get('done', 0):,}/{line['total']:,}")
    if "loss" in line:
        parts.append(translate("loss {loss:.3f}", loss=line["loss"]))
    if "tps" in line:
        parts.append(translate("{tps:.0f} tokens/s", tps=line["tps"]))
    if line.get("roof") is not None:
        parts.append(translate("{share:.0%} of the roof", share=line["roof"]))
    if line.get("memory_gib") is not None:
        parts.append(translate("{gib:.1f} GiB", gib=line["memory_gib"]))
    if line.get("left_s") is not None:
        parts.append(translate("{left} left", left=duration(line["left_s"])))
    return "  ".join(parts)
