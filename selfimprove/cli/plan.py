"""``selfimprove plan``: what ``run`` would do, and what it would cost.

Contract: delegates to `selfimprove.report.plan`; nothing is started and nothing is written.

See it work: ``selfimprove plan quickstart``.
"""

from __future__ import annotations

from pathlib import Path

import click

from selfimprove.cli.command import Command, config_words, load, run_dir_of
from selfimprove.cli.output import Result


@click.command("plan", cls=Command)
@config_words()
@click.option("--run-dir", type=click.Path(path_type=Path), help="Where the run lives.  [default: runs/NAME]")
@click.option("--name", help="Name of the run below runs/.  [default: the first file's name]")
@click.option("--deep", is_flag=True, help="Also build the real vLLM, TRL and PEFT options (takes seconds).")
def command(words: tuple[str, ...], run_dir: Path | None, name: str | None, deep: bool) -> Result:
    """Show what run would do, reuse and spend."""
    config = load(words)
    if deep:
        from selfimprove.report.doctor import require_options

        require_options(config)
    from selfimprove.report.plan import plan, render_plan

    found = plan(config, run_dir_of(words, run_dir, name))
    return Result(found, render_plan(found))
