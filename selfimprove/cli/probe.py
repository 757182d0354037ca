"""``selfimprove probe``: what could self-training win with this model, these problems and this verifier?

Contract: delegates to `selfimprove.probe`, which begins the run that the written configuration describes.

See it work: ``selfimprove probe --model MODEL --data problems.jsonl --verifier answer_match``.
"""

from __future__ import annotations

from pathlib import Path

import click

from selfimprove.cli.command import Command
from selfimprove.cli.output import Result


@click.command("probe", cls=Command)
@click.option("--model", required=True, help="A model's directory, or a hub id (org/name[@revision]).")
@click.option("--data", required=True, help="A file of problems, or a generator's name.")
@click.option("--verifier", required=True, help="A verifier's name, or file.py:function.")
@click.option("-n", "problems", type=click.IntRange(min=1), default=64, show_default=True, help="Problems to ask.")
@click.option("--samples", type=click.IntRange(min=2), default=8, show_default=True, help="Samples of each.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=512, show_default=True, help="Tokens of a sample.")
@click.option("--name", default="probe", show_default=True, help="Writes NAME.yaml here, begins the run runs/NAME.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def command(
    model: str,
    data: str,
    verifier: str,
    problems: int,
    samples: int,
    max_tokens: int,
    name: str,
    overrides: tuple[str, ...],
) -> Result:
    """Ask a few problems and say what could be won.

    Shows pass@1, maj@8 and pass@8, what is never and always solved, and samples to read. No configuration is needed;
    the one that is written begins a run, whose round 1 has these samples already."""
    from selfimprove.probe import Asked, probe, render

    asked = Asked(model, data, verifier, problems, samples, max_tokens)
    found = probe(asked, Path(f"{name}.yaml"), Path("runs") / name, overrides)
    return Result(found, render(found))
