"""``selfimprove doctor``: is this machine, and this configuration, fit to run?

Contract: delegates to `selfimprove.report.doctor`; exit code 5 if a check fails.

See it work: ``selfimprove doctor``.
"""

from __future__ import annotations

from pathlib import Path

import click

from selfimprove.cli.command import Command, config_words, load
from selfimprove.cli.output import Result


@click.command("doctor", cls=Command)
@config_words(required=False)
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path), default=Path("."), help="Where runs go.  [default: here]"
)
def command(words: tuple[str, ...], directory: Path) -> Result:
    """Check whether this machine is fit to run.

    With CONFIG, its vLLM, TRL and PEFT options are also handed to those libraries, for real (takes seconds)."""
    from selfimprove.report.doctor import check_machine, check_options, render_doctor

    config = load(words) if words else None
    checks = check_machine(directory)
    if config is not None:
        checks += check_options(config)
    failed = [check["name"] for check in checks if not check["ok"]]
    return Result({"checks": checks, "failed": failed}, render_doctor(checks), 5 if failed else 0)
