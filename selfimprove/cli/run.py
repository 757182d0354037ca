"""``selfimprove run``: start a run, or continue it.

Contract: delegates to `selfimprove.run.execute`; the exit code is the run's.

See it work: ``selfimprove run quickstart``.
"""

from __future__ import annotations

from pathlib import Path

import click

from selfimprove.cli.command import Command, config_words, load, run_dir_of
from selfimprove.cli.output import Result
from selfimprove.control import STAGES, Stop


def _progress(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value not in ("auto", "none") and not (value.isdigit() and int(value) > 0):
        raise click.BadParameter(f"expected auto, none or a number of seconds, got {value!r}")
    return value


@click.command("run", cls=Command)
@config_words()
@click.option("--run-dir", type=click.Path(path_type=Path), help="Where the run lives.  [default: runs/NAME]")
@click.option("--name", help="Name of the run below runs/.  [default: the first file's name]")
@click.option(
    "--progress", default="auto", metavar="auto|none|SECONDS", callback=_progress, help="How often to say what is done."
)
@click.option("--until", type=click.Choice(STAGES), help="Stop once a round's training rows are chosen.")
def command(words: tuple[str, ...], run_dir: Path | None, name: str | None, progress: str, until: str | None) -> Result:
    """Start a run, or continue it.

    The same command again picks up where the last one stopped, whatever stopped it.

    CONFIG is a YAML file (several are layered, later ones win), a preset's name, or the directory of a run.
    KEY=VALUE changes one key, as in sampling.temperature=0.7. A finished run is a no-op; a changed
    configuration is refused, with the difference.
    """
    config = load(words)
    directory = run_dir_of(words, run_dir, name)
    from selfimprove.errors import Stopped
    from selfimprove.run import execute

    try:
        done = execute(config, directory, progress=progress, stop=Stop(until=until or ""))
    except Stopped as stopped:
        if not until or "as asked" not in str(stopped):
            raise
        return Result({"run": str(directory), "state": "stopped", "until": until}, f"{directory}: {stopped}")
    return Result(done.data, done.message, done.exit_code)
