"""``selfimprove status``: how far a run is.

Contract: delegates to `selfimprove.report.status`; reads the run directory only.

See it work: ``selfimprove status runs/quickstart``.
"""

from __future__ import annotations

from pathlib import Path

import click

from selfimprove.cli.command import Command, run_argument
from selfimprove.cli.output import Result


@click.command("status", cls=Command)
@run_argument()
def command(run_dir: Path) -> Result:
    """Show how far a run is."""
    from selfimprove.report.status import read_status, render_status

    found = read_status(run_dir)
    return Result(found, render_status(found))
