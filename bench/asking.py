"""Asking a project's questions: through its gateway, of any OpenAI server, or straight from an engine."""

from __future__ import annotations

import http.client
import json
import queue
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the tests' small yard serves as a project without an index

from tests.serve import service  # noqa: E402
from tests.servers import started  # noqa: E402

from modelyard import engines  # noqa: E402
from modelyard.grounding import NotStated, put  # noqa: E402
from modelyard.index import Bm25  # noqa: E402
from modelyard.prompt import Prompter  # noqa: E402
from modelyard.records.yard import Yard  # noqa: E402

CALLERS = 8
MAX_TOKENS = 30
MODELYARD = (sys.executable, "-m", "modelyard")


def questions_of(
    yard: Yard, release: Path, told: dict[str, object], most: int = 300
) -> list[tuple[str, tuple[int, ...]]]:
    """Questions of `select` that the index answers, of the first `most`, with the prompt of each."""
    corpus = yard.find(step="data.prepare")[0]
    rows = (corpus.folder / "pairs.select.jsonl").read_text("utf-8").splitlines()
    prompter, index = Prompter(release), Bm25.load(release)
    found = []
    for row in rows[:most]:
        text = json.loads(row)["question"]
        placed = put(prompter, index, text, passages=1)
        if not isinstance(placed, NotStated):
            found.append((text, placed.prompt))
    index.close()
    return found


def completion(model: str, prompt: Sequence[int], tokens: int) -> str:
    return json.dumps({"model": model, "prompt": list(prompt), "max_tokens": tokens, "temperature": 0})


def ungrounded(folder: Path, release: Path, told: dict[str, object]) -> Path:
    """A project that serves the release's model without its index."""
    service.make_yard(folder)
    made = folder / "made"
    skipped = ("passages.db", "index.json", "SHA256SUMS")
    shutil.copytree(release, made, ignore=shutil.ignore_patterns(*skipped))
    (made / "release.json").write_text(json.dumps(told | {"ground": None, "project": "desk"}))
    service.put_release(folder, made, 2)
    return folder


def ask_engine(
    engine: engines.Engine, prompts: Sequence[tuple[int, ...]], end: int, callers: int = CALLERS
) -> float:
    """Tokens that the engine alone writes a second, `callers` questions under way to the last."""
    batch = [engines.Request(f"r{at}", prompt, MAX_TOKENS, (end,)) for at, prompt in enumerate(prompts)]
    began = time.monotonic()
    done = engines.complete(engine, batch, callers=callers, limit_s=60)
    return sum(len(one.tokens) for one in done) / (time.monotonic() - began)


def ask_server(url: str, key: str, route: str, bodies: Sequence[str], callers: int = CALLERS) -> float:
    """The same of a server: as many connections as callers, each asking when it has its answer."""
    waiting = queue.SimpleQueue[str]()
    for body in bodies:
        waiting.put(body)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def caller() -> int:
        link = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        tokens = 0
        while True:
            try:
                body = waiting.get_nowait()
            except queue.Empty:
                return tokens
            link.request("POST", route, body, headers)
            answer = link.getresponse()
            said = answer.read()
            if answer.status != 200:
                raise SystemExit(f"the server answered {answer.status}")
            tokens += json.loads(said)["usage"]["completion_tokens"]

    began = time.monotonic()
    with ThreadPoolExecutor(callers) as pool:
        written = sum(future.result() for future in [pool.submit(caller) for _ in range(callers)])
    return written / (time.monotonic() - began)


def key_of(project: Path) -> str:
    said = subprocess.run(
        [
            *MODELYARD,
            "keys",
            "create",
            "--customer=bench",
            "--plan=starter",
            "--json",
            f"--project={project}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return str(json.loads(said)["result"]["key"])


@contextmanager
def serving(project: Path) -> Iterator[tuple[str, int]]:
    command = [*MODELYARD, "serve", "--port", "0", "--project", str(project)]
    with started(command, r"listening on (\S+)", {"PYTHONPATH": str(ROOT / "src")}) as found:
        yield found
