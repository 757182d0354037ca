"""``selfimprove show``: what came out of a run, down to single samples.

Contract: delegates to `selfimprove.report.show`; reads the run directory only.

See it work: ``selfimprove show runs/quickstart``.
"""

from __future__ import annotations

from pathlib import Path

import click

from selfimprove.cli.command import Command, run_argument
from selfimprove.cli.output import Result


@click.command("show", cls=Command)
@run_argument()
@click.argument("ref", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Lines of a list at most.")
def command(run_dir: Path, ref: str | None, limit: int) -> Result:
    """Show a run, or one thing in it.

    REF is a step (2/attempt), a problem's id or a sample's id; without it the whole run is summed up.
    """
    from selfimprove.report.show import render_show, show

    found = show(run_dir, ref, limit)
    return Result(found, render_show(found))
