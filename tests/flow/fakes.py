"""Small steps for tests of the walk: what they write is what they were told and read."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from modelyard.errors import Refused, SourceError
from modelyard.records.settings import Settings
from modelyard.records.shapes import Choice, Fact, Inputs, Output, Step, Workspace


class Told(Settings):
    text: str = ""


WRITE = Step("fake.write", 1, "tests.flow.fakes:write")
JOIN = Step("fake.join", 1, "tests.flow.fakes:join")
FAIL = Step("fake.fail", 1, "tests.flow.fakes:fail")
REFUSE = Step("fake.refuse", 1, "tests.flow.fakes:refuse")
COUNT = Step("fake.count", 1, "tests.flow.fakes:count")
OVERWRITE = Step("fake.overwrite", 1, "tests.flow.fakes:overwrite")
SHAKY = Step("fake.shaky", 1, "tests.flow.fakes:shaky")
REPORT = Step("release.choose", 1, "tests.flow.fakes:refuse_on_report")

calls: list[str] = []


def write(settings: Told, inputs: Inputs, workspace: Workspace) -> Output:
    calls.append(settings.text)
    (workspace.out / "text").write_text(settings.text)
    workspace.report("writing", done=1, total=1)
    return Output({"data.documents": Fact(1, "documents")}, (Choice("ink", "blue", "it was there"),))


def join(settings: Told, inputs: Inputs, workspace: Workspace) -> Output:
    calls.append("join")
    texts = [(record.folder / "text").read_text() for record in inputs.all("parts")]
    (workspace.out / "text").write_text(settings.text.join(texts))
    return Output()


def fail(settings: Told, inputs: Inputs, workspace: Workspace) -> Output:
    (workspace.out / "half").write_text("half")
    raise SourceError("it fails", where="here", try_="not to")


def refuse(settings: Told, inputs: Inputs, workspace: Workspace) -> Output:
    raise Refused("a gate says no")


def count(settings: Told, inputs: Inputs, workspace: Workspace) -> Output:
    """Counts to five with a checkpoint each; dies once at three where told to."""
    state: Any = workspace.state / "n.json"
    done = json.loads(state.read_text()) if state.exists() else 0
    for n in range(done, 5):
        if n == 3 and settings.text == "die" and not (workspace.state / "died").exists():
            (workspace.state / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        calls.append(str(n))
        state.write_text(json.dumps(n + 1))
    (workspace.out / "text").write_text(f"{done} before")
    return Output()


def shaky(settings: Told, inputs: Inputs, workspace: Workspace) -> Output:
    """Something that may go better the next time."""
    calls.append("shaky")
    (workspace.out / "text").write_text("made")
    return Output(provisional="the engine crashed")


def refuse_on_report(settings: Told, inputs: Inputs, workspace: Workspace) -> Output:
    """A refusal that the audit log is told of."""
    error = Refused("a gate says no")
    error.audited = {"pairs": "p", "model": "m", "file": settings.text, "engine": "e", "failed": ["g"]}
    raise error


def overwrite(settings: Told, inputs: Inputs, workspace: Workspace) -> Output:
    """Somebody else writes what this reads."""
    with open(settings.text, "a") as stream:
        stream.write("more")
    return Output()
