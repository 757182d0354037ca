"""``selfimprove eval``: measure any model on a configuration's held-out problems.

Contract: delegates to `selfimprove.run.evaluate_model`, in a run directory of its own.

See it work: ``selfimprove eval MODEL quickstart``.
"""

from __future__ import annotations

from pathlib import Path

import click

from selfimprove.cli.command import Command, config_words, load, run_dir_of
from selfimprove.cli.output import Result


@click.command("eval", cls=Command)
@click.argument("model")
@config_words()
@click.option("--split", type=click.Choice(["gate", "report", "train"]), default="report", show_default=True)
@click.option("--n", "n", type=click.IntRange(min=1), default=1, show_default=True, help="Answers to each problem.")
@click.option("--run-dir", type=click.Path(path_type=Path), help="Where the answers go.  [default: runs/NAME-eval]")
def command(model: str, words: tuple[str, ...], split: str, n: int, run_dir: Path | None) -> Result:
    """Measure a model on the held-out problems.

    MODEL is a directory or a hub id (org/name[@revision])."""
    config = load(words)
    usual = run_dir_of(words, None)
    from selfimprove.run import evaluate_model

    found = evaluate_model(config, model, split=split, n=n, run_dir=run_dir or usual.with_name(f"{usual.name}-eval"))
    lines = [f"{key}: {value}" for key, value in found.items()]
    return Result(found, found.get("text") or "\n".join(lines))
