"""``selfimprove eject``: a round as plain vLLM and TRL scripts.

Contract: delegates to `selfimprove.eject`; the run is not changed.

See it work: ``selfimprove eject runs/quickstart --round 1 --output round1``.
"""

from __future__ import annotations

from pathlib import Path

import click

from selfimprove.cli.command import Command, run_argument
from selfimprove.cli.output import Result


@click.command("eject", cls=Command)
@run_argument()
@click.option("--round", "index", type=click.IntRange(min=1), required=True, help="Which round.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A new directory.")
def command(run_dir: Path, index: int, output: Path) -> Result:
    """Write a round as plain vLLM and TRL scripts.

    With its samples, its training rows as token ids, and nothing of this package."""
    from selfimprove.eject import eject

    found = eject(run_dir, index, output)
    text = f"{output}: {found['samples']} samples, {found['rows']} rows ({found['objective']}), sample.py"
    return Result(found, text + (", train.py" if found["objective"] == "sft" else ""))
