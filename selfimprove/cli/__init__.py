"""The command line: ``selfimprove COMMAND ...``.

Contract: commands parse and delegate, and live in one small module each, imported when needed; help, ``plan``,
``status``, ``show`` and ``config`` never import torch, Ray, vLLM or transformers. stdout holds the result, stderr
everything else. Exit codes: see `selfimprove.errors`; 2 for wrong usage, 130 for Ctrl-C, 1 for a bug.

See it work: ``selfimprove --help``.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from selfimprove.cli import output
from selfimprove.cli.command import Group

COMMANDS = (
    "probe",
    "run",
    "plan",
    "status",
    "show",
    "verify",
    "eval",
    "export",
    "eject",
    "import",
    "recipes",
    "verifiers",
    "config",
    "doctor",
    "init",
)
_MODULES = {"import": "import_"}  # a word of Python's own
_NESTED = ("recipes", "verifiers", "config")
_NO_TELEMETRY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


class LazyGroup(Group):
    """Imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"selfimprove.cli.{_MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from selfimprove import __version__

        click.echo(f"selfimprove {__version__}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def application() -> None:
    """Make a language model better by its own verified answers, round after round.

    \b
    selfimprove init my-project          a small project that runs on a laptop
    selfimprove plan CONFIG              what would be done, and what it would cost
    selfimprove run CONFIG rounds=5      do it; the same command continues after any interruption
    selfimprove show runs/CONFIG         what came out, down to single samples
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: the process's own) and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    for name, value in _NO_TELEMETRY.items():
        os.environ.setdefault(name, value)
    output.tolerant(sys.stdout, sys.stderr)
    as_json = "--json" in (words[: words.index("--")] if "--" in words else words)
    try:
        result = application.main(words, prog_name="selfimprove", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except (Exception, KeyboardInterrupt) as error:  # the process wall: everything becomes a message and a code
        result = output.failure(error)
    if not isinstance(result, output.Result):
        return int(result or 0)  # --help and --version have printed already
    return output.emit(result, command_name(words), as_json=as_json)


def command_name(words: Sequence[str]) -> str:
    """``config show`` of ``config show x.yaml``: as far as the words name commands."""
    plain: list[Any] = [word for word in words if not word.startswith("-")]
    depth = 2 if plain and plain[0] in _NESTED else 1
    return " ".join(plain[:depth])
