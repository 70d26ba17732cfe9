"""`plan`: the plan of a project, what one run takes, and how well such predictions do on published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import need
from .voice import Voice, verb

PARTS = ("routes", "run", "team", "business", "position", "cases", "lessons", "outlook", "forecasts")


@click.command()
@click.argument("part", required=False, type=click.Choice(PARTS))
@click.option("--html", metavar="FILE", help="Write the plan as one page with pictures.")
@click.option("--calibrate", is_flag=True, help="Train for half a minute first, to measure this machine.")
@click.option("--model", metavar="CONFIG", help="A size such as 7B, a config.json, or a folder with one.")
@click.option("--active", metavar="N", help="Parameters that a token meets, of a mixture of experts.")
@click.option("--tokens", metavar="N", help="Tokens to train on, such as 300B.")
@click.option("--on", metavar="DEVICE:N", help="A device of the catalogue and how many, or `here`.")
@click.option("--method", type=click.Choice(["full", "lora", "qlora"]), default="full", help="What learns.")
@click.option("--teacher", metavar="SIZE", help="A model that answers beside it, to be learnt from.")
@click.option(
    "--layout", metavar="TEXT", default="", help="Such as FSDP8 or TP4 PP2; else the plainest that fits."
)
@click.option("--sequence", type=click.IntRange(1, 1 << 24), default=2048, help="Tokens of a sequence.")
@click.option(
    "--micro-batch", type=click.IntRange(1, 1 << 16), default=1, help="Sequences of a device at once."
)
@click.option("--serve", metavar="R", help="Instead of training: answer R requests a second.")
@click.option(
    "--p95-s", type=click.FloatRange(0.001, 1e6), default=3.0, help="Seconds for 95 of 100 answers."
)
@click.option("--input", "input_tokens", type=click.IntRange(1, 1 << 24), default=1000, help="Tokens read.")
@click.option(
    "--output", "output_tokens", type=click.IntRange(1, 1 << 20), default=200, help="Tokens written."
)
@click.option("--bits", type=click.FloatRange(1, 32), default=16, help="Bits of a weight that answers.")
@click.option(
    "--backtest", metavar="FILE", help="Predict the runs of a CSV table, and score what it reports."
)
@verb("plan")
def plan(
    voice: Voice,
    folder: Path,
    part: str | None,
    html: str | None,
    calibrate: bool,
    backtest: str | None,
    **asked: Any,
) -> None:
    """Plan a project: route, people, money, lessons, futures; or one run with --model, --tokens and --on.

    PART shows one part of it.
    """
    need("numpy", extra="plan", for_="planning")
    from . import plan_backtest, plan_project, plan_run, plan_serving  # they need it

    if backtest is not None:
        plan_backtest.backtest(voice, folder / backtest)
    elif asked["serve"] is not None:
        plan_serving.serve(voice, asked)
    elif any(asked[name] is not None for name in ("model", "tokens", "on")):
        plan_run.train(voice, folder, asked)
    else:
        plan_project.project(voice, folder, part, html, calibrated=calibrate)
