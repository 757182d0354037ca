"""What all commands share: ``--json``, the words that name a configuration, and the run directory they mean.

Contract: a command's function parses, delegates and returns a `Result`; `selfimprove.cli.main` prints it.

See it work: ``selfimprove plan --help``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selfimprove.cli.output import stdout_to_stderr

if TYPE_CHECKING:
    from selfimprove.config import RunConfig


class Command(click.Command):
    """A command with ``--json`` (read by `main`, so that usage errors obey it too) and a quiet stdout."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        help_text = "Print exactly one JSON object, also on failure."
        self.params.append(click.Option(["--json"], is_flag=True, expose_value=False, help=help_text))

    def invoke(self, ctx: click.Context) -> Any:
        with stdout_to_stderr():
            return super().invoke(ctx)


class Group(click.Group):
    """A group that suggests the command probably meant."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from selfimprove.plugins import suggest

            known = self.list_commands(ctx)
            close = suggest(args[0], known).replace(" - did", ". Did")
            raise click.UsageError(f"no command {args[0]!r}{close}", ctx)
        return super().resolve_command(ctx, args)


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    from click.shell_completion import CompletionItem

    from selfimprove.plugins import presets

    names = [CompletionItem(name) for name in presets() if name.startswith(incomplete)]
    return [*names, CompletionItem(incomplete, type="file")]


def config_words(*, required: bool = True) -> Callable[[Any], Any]:
    """The argument ``CONFIG... [KEY=VALUE]...``: files, presets or a run directory, then overrides."""
    metavar = "CONFIG... [KEY=VALUE]..."
    return click.argument(
        "words", nargs=-1, required=required, metavar=metavar if required else f"[{metavar}]", shell_complete=_complete
    )


def run_argument() -> Callable[[Any], Any]:
    """The argument ``RUN``: an existing run directory."""
    kind = click.Path(exists=True, file_okay=False, path_type=Path)
    return click.argument("run_dir", metavar="RUN", type=kind)


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Files and overrides of a command line, in whatever order they came."""
    from selfimprove.config import is_override

    overrides = [word for word in words if is_override(word)]
    files = [word for word in words if not is_override(word)]
    if not files:
        from selfimprove.plugins import presets

        raise click.UsageError(f"no configuration given: name a file, a run or a preset ({', '.join(presets())})")
    return files, overrides


def load(words: Sequence[str]) -> RunConfig:
    """The configuration that the words describe."""
    from selfimprove.config import load_config

    return load_config(*split(words))


def run_dir_of(words: Sequence[str], given: Path | None, name: str | None = None) -> Path:
    """Where the run lives: as given, the run that the first word names, or ``runs/NAME`` below here."""
    from selfimprove.config.loader import RESOLVED

    if given is not None and name is not None:
        raise click.UsageError("--run-dir and --name both say where the run goes: give one of them")
    first = Path(split(words)[0][0])
    if given is not None:
        return given
    if name is not None:
        if not name or "/" in name or name.startswith("."):
            raise click.UsageError(f"--name {name!r} is not a name; for a path use --run-dir")
        return Path("runs") / name
    if (first / RESOLVED).is_file():
        return first
    return first.parent if first.name == RESOLVED else Path("runs") / first.stem
