"""``selfimprove import``: judge and train on samples made elsewhere.

Contract: the run of a configuration whose samples are read instead of drawn; one round, nothing evaluated.

See it work: ``selfimprove import samples.jsonl config.yaml``.
"""

from __future__ import annotations

from pathlib import Path

import click

from selfimprove.cli.command import Command, config_words, load, run_dir_of
from selfimprove.cli.output import Result


@click.command("import", cls=Command)
@click.argument("samples", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@config_words()
@click.option("--run-dir", type=click.Path(path_type=Path), help="Where the run lives.  [default: runs/NAME-import]")
def command(samples: Path, words: tuple[str, ...], run_dir: Path | None) -> Result:
    """Judge and train on samples made elsewhere.

    SAMPLES is a JSONL file with prompt (or problem_id) and completion, and with prompt_ids and token_ids if these very
    tokens are to be trained on. CONFIG says the rest; one round is done, and nothing is evaluated."""
    usual = run_dir_of(words, None)
    given = ["sampling.type=recorded", f"sampling.samples={samples.resolve()}", "rounds=1"]
    config = load([*words, *given, "data.gate=0", "data.report=0", "warmup=null", "sampling.script=null"])
    from selfimprove.run import execute

    done = execute(config, run_dir or usual.with_name(f"{usual.name}-import"))
    return Result(done.data, done.message, done.exit_code)
