"""``selfimprove export``: a run's verifier and problems for an online trainer.

Contract: delegates to `selfimprove.export`; the run is not changed.

See it work: ``selfimprove export runs/quickstart --to trl-grpo --output rl``.
"""

from __future__ import annotations

from pathlib import Path

import click

from selfimprove.cli.command import Command, run_argument
from selfimprove.cli.output import Result


@click.command("export", cls=Command)
@run_argument()
@click.option("--to", "target", type=click.Choice(("trl-grpo", "verl")), required=True, help="The trainer.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A new directory.")
@click.option("--low", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="Lowest pass rate.")
@click.option("--high", type=click.FloatRange(0, 1), default=0.9, show_default=True, help="Highest pass rate.")
def command(run_dir: Path, target: str, output: Path, low: float, high: float) -> Result:
    """Write a run's verifier and problems for an online trainer.

    The problems are those with a middling pass rate; the verifier becomes a reward function."""
    from selfimprove.export import export, render

    found = export(run_dir, target, output, low, high)
    return Result(found, render(found))
