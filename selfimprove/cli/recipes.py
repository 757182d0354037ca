"""``selfimprove recipes``: list, read and copy the methods.

Contract: reads recipe files; `cp` writes one new file and overwrites nothing.

See it work: ``selfimprove recipes ls``.
"""

from __future__ import annotations

from pathlib import Path

import click

from selfimprove.cli.command import Group
from selfimprove.cli.output import Result


@click.group("recipes", cls=Group)
def command() -> None:
    """List, read and copy recipes: what a round does."""


@command.command("ls")
def ls() -> Result:
    """List every recipe that a configuration can name."""
    from selfimprove.cli.listing import listing

    return listing("recipe")


@command.command("show")
@click.argument("name")
def show(name: str) -> Result:
    """Print a recipe's source file."""
    from selfimprove import plugins

    place = plugins.locate("recipe", name)
    source = place.file.read_text(encoding="utf-8")
    return Result({"name": name, "file": str(place.file), "source": source}, source)


@command.command("cp")
@click.argument("name")
@click.argument("dest", required=False, type=click.Path(path_type=Path))
def cp(name: str, dest: Path | None) -> Result:
    """Copy a recipe's file, to change it.

    DEST is a file or a directory (default: here)."""
    from selfimprove.cli.scaffold import copy_recipe

    file, spec = copy_recipe(name, dest)
    line = f"recipe: {{name: {spec}}}"
    return Result({"file": str(file), "spec": spec, "config": line}, f"wrote {file}; use it with\n  {line}")
