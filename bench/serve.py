"""The figures of the service: what the gateway costs beside its engine and a peer, and the books' speed.

    python bench/serve.py [--project examples/pydesk] [--only gateway|echo|peer|books]

Needs `wrk`; the peer is LiteLLM's proxy in bench/.env/litellm (`python -m venv`, then pip install
'litellm[proxy]'), and is left out, unmeasured, where that is not there.
"""

from __future__ import annotations

import argparse
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import results
from asking import (
    CALLERS,
    MAX_TOKENS,
    ROOT,
    ask_engine,
    ask_server,
    completion,
    key_of,
    questions_of,
    serving,
    ungrounded,
)
from load import folder, load, question
from results import Figure
from tests.bill import shop, test_soak
from tests.serve import service
from tests.servers import port, started

from modelyard import engines
from modelyard.bill.intake import take
from modelyard.prompt import Prompter
from modelyard.records.yard import Yard

BATCH = 32  # questions of a turn; short turns, since the machine's speed drifts
PAIRS = 16
SECONDS = 8  # of a load on echo or on the peer
PYDESK = ROOT / "examples" / "pydesk"
LITELLM = folder(".env/litellm")
CONFIG = """
model_list:
  - model_name: desk
    litellm_params: {model: openai/desk, api_base: "http://127.0.0.1:%d/v1", api_key: none}
general_settings: {master_key: sk-bench}
"""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--project", type=Path, default=PYDESK)
    parser.add_argument("--only", choices=PARTS)
    told = parser.parse_args()
    figures: list[Figure] = []
    for name, part in PARTS.items():
        if told.only in (None, name):
            figures += part(told.project.resolve())
    results.tell("serve", figures, whole=told.only is None)


def gateway(project: Path) -> list[Figure]:
    """Answers a second through the gateway and straight from the engine, in turns.

    Once with the finished prompts as tokens, so that both do the same; once with the questions, for which
    the gateway alone looks up passages and renders the prompts.
    """
    yard = Yard(project / ".yard")
    found = yard.find(step="release.choose")
    if not found:
        raise SystemExit(f"{project} has no release yet: modelyard up --project {project}")
    release = found[0]
    told = release.json("release.json")
    asked = questions_of(yard, release.folder, told)
    engine = engines.start(
        told["engine"],
        engines.model_path(release.folder),
        threads=told["threads"],
        lookup=told.get("lookup", False),
        callers=CALLERS,
        context_tokens=max(len(prompt) for _, prompt in asked) + MAX_TOKENS + 8,
    )
    prompter = Prompter(release.folder)
    batch = asked[:BATCH]
    name = told["project"]
    tokens = [completion("desk", prompt, MAX_TOKENS) for _, prompt in batch]
    questions = [question(name, text, MAX_TOKENS) for text, _ in batch]
    straight = [prompt for _, prompt in batch]
    try:
        with tempfile.TemporaryDirectory() as place:
            bare = ungrounded(Path(place) / "desk", release.folder, told)
            with serving(bare) as served:
                one = _turns(engine, straight, prompter.end, served, key_of(bare), "/v1/completions", tokens)
        with serving(project) as served:
            other = _turns(
                engine, straight, prompter.end, served, key_of(project), "/v1/chat/completions", questions
            )
    finally:
        engine.close()
    what = f"tokens/s through the gateway to those straight from {told['engine']}, {CALLERS} callers"
    return [_share(what, one, 0.95), _share(f"{what}, with retrieval", other, None)]


def _share(name: str, turns: list[tuple[float, float, float]], above: float | None) -> Figure:
    through, straight, cpu = zip(*turns, strict=True)
    ratios = [ours / theirs for ours, theirs in zip(through, straight, strict=True)]
    middle, low, high = results.of_turns(ratios)
    return Figure(
        name,
        middle,
        "share",
        low=low,
        high=high,
        above=above,
        why=f"{PAIRS} alternating pairs of {BATCH} answers; {statistics.mean(through):.1f} and "
        f"{statistics.mean(straight):.1f} tokens/s; {1e3 * statistics.mean(cpu):.0f} ms of CPU an answer",
    )


def _turns(
    engine: engines.Engine,
    prompts: Sequence[tuple[int, ...]],
    end: int,
    served: tuple[str, int],
    key: str,
    route: str,
    bodies: Sequence[str],
) -> list[tuple[float, float, float]]:
    """Of each pair of turns: tokens/s through the gateway, straight, and the gateway's CPU s an answer."""
    url, process = served
    found = []
    for turn in range(PAIRS + 1):
        straight = ask_engine(engine, prompts, end)
        before = sum(psutil.Process(process).cpu_times()[:2])
        through = ask_server(url, key, route, bodies)
        if turn:  # the first warms both
            cpu = (sum(psutil.Process(process).cpu_times()[:2]) - before) / len(bodies)
            found.append((through, straight, cpu))
    return found


def echo(_: Path) -> list[Figure]:
    """Priced requests a second with an engine that takes no time."""
    with _echo_gateway() as (url, process, key):
        body = [question("desk", "the anvil costs", 8)]
        found = {
            callers: load(url, body, key=key, callers=callers, seconds=SECONDS, process=process)
            for callers in (1, 8, 32)
        }
    return [
        Figure(
            f"priced requests a second on echo, {callers} callers",
            one.per_s,
            "requests/s",
            above=300 if callers == 32 else None,
            why=f"median {one.median_ms:.1f} ms, {one.cpu_ms:.2f} ms of CPU a request, {one.bad} refused",
        )
        for callers, one in found.items()
    ]


def peer(_: Path) -> list[Figure]:
    """What the gateway and LiteLLM's proxy add to a request: median latency and CPU."""
    names = [
        f"{what}, {callers} caller{'s' * (callers > 1)}"
        for callers in (1, CALLERS)
        for what in ("median latency added by the gateway", "CPU time of the gateway a request")
    ]
    if not (LITELLM / "bin" / "litellm").exists():
        why = "LiteLLM's proxy is not installed in bench/.env/litellm"
        return [Figure(name, None, "ms", why=why) for name in names]
    body = [question("desk", "the anvil costs", 8)]
    found: dict[tuple[str, int], tuple[float, float]] = {}
    with _upstream() as (direct, upstream), _litellm(direct) as (proxy, process), _echo_gateway() as ours:
        for callers in (1, CALLERS):
            bare = load(
                f"{direct}/v1/chat/completions",
                body,
                key="-",
                callers=callers,
                seconds=SECONDS,
                process=upstream,
            )
            theirs = load(
                f"{proxy}/v1/chat/completions",
                body,
                key="sk-bench",
                callers=callers,
                seconds=SECONDS,
                process=process,
            )
            mine = load(ours[0], body, key=ours[2], callers=callers, seconds=SECONDS, process=ours[1])
            if theirs.bad or mine.bad:
                raise SystemExit(f"bad answers: {theirs.bad} of LiteLLM, {mine.bad} of the gateway")
            found["theirs", callers] = (theirs.median_ms - bare.median_ms, theirs.cpu_ms)
            found["mine", callers] = (mine.median_ms - _echo_ms(callers), mine.cpu_ms)
    version = _version_of_litellm()
    pairs = [
        (found["mine", callers][at], found["theirs", callers][at])
        for callers in (1, CALLERS)
        for at in (0, 1)
    ]
    return [
        Figure(
            name,
            mine,
            "ms",
            theirs,
            at_most=theirs / 2,
            why=f"peer: LiteLLM {version}, one worker, no database",
        )
        for name, (mine, theirs) in zip(names, pairs, strict=True)
    ]


def books(_: Path) -> list[Figure]:
    """Events taken in, and a million of them rated."""
    with tempfile.TemporaryDirectory() as place:
        market = shop.Shop(Path(place))
        market.publish(shop.proposed())
        who, big = market.customer("starter"), market.customer("starter")
        given = shop.lines([shop.event(f"e{at}", who, shop.NOVEMBER.start_us + at) for at in range(50_000)])
        began = time.perf_counter()
        take(market.ledger.write, given, clock=lambda: shop.NOVEMBER.start_us + 10**12)
        imported = 50_000 / (time.perf_counter() - began)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        test_soak.fill(market, big, 1_000_000)
        seconds = test_soak.rated(market, big, 1_000_000)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return [
        Figure("events imported a second, durable", imported, "events/s", above=5_000),
        Figure("a million events rated", seconds, "s", at_most=30),
        Figure("memory that rating a million events adds", grown, "MiB", at_most=64),
    ]


PARTS = {"gateway": gateway, "echo": echo, "peer": peer, "books": books}


def _echo_ms(callers: int) -> float:
    """The median time of the same answer straight from the engine echo."""
    engine = engines.start("echo", Path("none"), threads=1, callers=CALLERS)
    try:
        batch = [engines.Request(f"r{at}", tuple(range(100, 140)), 8, ()) for at in range(400 * callers)]
        done = engines.complete(engine, batch, callers=callers, limit_s=60)
    finally:
        engine.close()
    return 1e3 * statistics.median(one.last - one.submitted for one in done)


@contextmanager
def _echo_gateway() -> Iterator[tuple[str, int, str]]:
    """A gateway on the engine echo: the address of its chat completions, its process, a key."""
    with tempfile.TemporaryDirectory() as place:
        project = service.make_yard(Path(place) / "desk")
        key = service.make_key(project)
        with serving(project) as (url, process):
            yield f"{url}/v1/chat/completions", process, key


@contextmanager
def _upstream() -> Iterator[tuple[str, int]]:
    at = port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(folder(".")), "upstream:app"]
    with started([*command, "--port", str(at), "--no-access-log"], r"running on (\S+)") as found:
        yield found


@contextmanager
def _litellm(upstream: str) -> Iterator[tuple[str, int]]:
    at = port()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        config.write(CONFIG % int(upstream.rpartition(":")[2]))
        config.flush()
        command = [str(LITELLM / "bin" / "litellm"), "--config", config.name, "--port", str(at)]
        quiet = {"LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        # Told to be quiet it does not say when it listens.
        with started([*command, "--num_workers", "1"], "(Set models)", quiet) as found:
            until = time.monotonic() + 60
            while not _listens(at) and time.monotonic() < until:
                time.sleep(0.2)
            yield f"http://127.0.0.1:{at}", found[1]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _version_of_litellm() -> str:
    said = subprocess.run(
        [str(LITELLM / "bin" / "pip"), "show", "litellm"], capture_output=True, text=True, check=False
    ).stdout
    return next((line.split()[1] for line in said.splitlines() if line.startswith("Version")), "unknown")


if __name__ == "__main__":
    main()
