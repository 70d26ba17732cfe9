"""The command `modelyard`: verbs by name with one-line help; a verb's code is imported when called."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from .. import __version__
from .voice import Voice, language, translate

# Name -> where its command is, and its help, so that `--help` imports no verb.
VERBS: dict[str, tuple[str, str]] = {
    "init": ("init:init", "Write a project file for your documents, your pairs, or both."),
    "up": ("up:up", "Make all that is missing or stale, from documents to release."),
    "status": ("look:status", "Show what is kept, what is stale, and who runs."),
    "show": ("look:show", "Show a record: corpus, index, model, candidate, verdict, release."),
    "why": ("look:why", "Say why a record is as it is: its choices and where it was made."),
    "try": ("ask:try_", "Ask the newest release a question."),
    "release": (
        "release:release",
        "Choose the release again, sign it, take one in, or serve an earlier one.",
    ),
    "package": ("package:package", "Make of the release what runs elsewhere: a container image."),
    "serve": ("serve:serve", "Answer over HTTP, as OpenAI's service does."),
    "customers": ("customers:customers", "Add a customer, or list them with their plans."),
    "prices": ("prices:prices", "Publish what the plans cost, show it, or set a wrong version right."),
    "usage": ("usage:usage", "Show what a customer used; bring usage events in and out."),
    "invoice": ("invoice:invoice", "Look at an invoice before it is one."),
    "keys": ("keys:keys", "Make, list, replace and revoke keys of the service."),
    "budgets": ("budgets:budgets", "Set, list and end budgets of keys, customers and the project."),
    "backup": ("backup:backup", "Copy the yard, while the service runs on."),
    "restore": ("backup:restore", "Make a project of a backup, in an empty folder."),
    "audit": ("audit:audit", "Check the log of everything that was made."),
    "plan": ("plan:plan", "Plan the project: route, people, money, futures; or one run."),
    "sweep": ("sweep:sweep", "Drop what nothing needs any more."),
    "doctor": ("doctor:doctor", "Tell what this machine can do and what is missing."),
}


class Verbs(click.Group):
    """A group whose commands are looked up by name and imported only then."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module, _, attribute = VERBS[name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"modelyard.cli.{module}"), attribute)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section(translate("Verbs")):
            formatter.write_dl([(name, translate(help)) for name, (_, help) in VERBS.items()])

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        import difflib

        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, n=1)
            advice = f"did you mean {near[0]}?" if near else "`modelyard --help` lists the verbs"
            raise click.UsageError(f"there is no verb {args[0]!r}; {advice}")
        return super().resolve_command(context, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="modelyard")
def modelyard() -> None:
    """From raw documents to a paying model service: one file, one command, every number measured."""


def main() -> None:
    """Run a verb; exit 0 done, 1 failed or refused, 2 the project file or the arguments are wrong."""
    arguments = sys.argv[1:]
    language(arguments)
    try:
        modelyard.main(arguments, prog_name="modelyard", standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.UsageError as error:
        if "--json" not in arguments:
            error.show()
        else:
            verb = next((a for a in arguments if a in VERBS), "")
            Voice(verb, json=True).fail("usage_error", error.format_message(), "", "modelyard --help")
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo(translate("stopped; `modelyard up` goes on from here"), err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)  # the reader of our output went away, as `| head` does
