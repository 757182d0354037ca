"""``selfimprove init``: a small project that runs.

Contract: delegates to `selfimprove.cli.scaffold`; overwrites nothing.

See it work: ``selfimprove init my-project``.
"""

from __future__ import annotations

from pathlib import Path

import click

from selfimprove.cli.command import Command
from selfimprove.cli.output import Result


@click.command("init", cls=Command)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path("."))
@click.option("--recipe", help="The method to start from; see: selfimprove recipes ls.")
@click.option("--model", help="Directory or hub id.  [default: a tiny random model, made on the spot]")
def command(directory: Path, recipe: str | None, model: str | None) -> Result:
    """Write a small project that runs on a laptop.

    DIRECTORY gets a configuration, a verifier with its test, problems and a README.

    Existing files are never overwritten.
    """
    from selfimprove.cli.scaffold import scaffold

    written = scaffold(directory, recipe, model)
    go = "" if directory == Path(".") else f"cd {directory} && "
    names = ", ".join(written)
    return Result(
        {"directory": str(directory), "files": written}, f"wrote {names}\nnext: {go}selfimprove run config.yaml"
    )
