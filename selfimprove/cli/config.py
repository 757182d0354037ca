"""``selfimprove config``: check, print and describe configurations.

Contract: delegates to `selfimprove.config`; no engine is imported.

See it work: ``selfimprove config validate quickstart``.
"""

from __future__ import annotations

from pathlib import Path

import click

from selfimprove.cli.command import Group, config_words, load, split
from selfimprove.cli.output import Result


@click.group("config", cls=Group)
def command() -> None:
    """Check, print and describe configurations."""


@command.command("validate")
@config_words()
def validate(words: tuple[str, ...]) -> Result:
    """Check a configuration and all that it names."""
    from selfimprove.config import flatten

    count = len(flatten(load(words)))
    return Result({"valid": True, "keys": count}, f"valid: {' '.join(words)}")


@command.command("show")
@config_words()
@click.option("--explain", is_flag=True, help="Say of each key where its value comes from.")
def show(words: tuple[str, ...], explain: bool) -> Result:
    """Print the resolved configuration: every key, every default."""
    from selfimprove.config import dump_yaml, load_with_origins

    config, origins = load_with_origins(*split(words))
    data = {"config": config.model_dump(mode="json"), "origins": origins}
    if not explain:
        return Result(data, dump_yaml(config))
    from selfimprove.config import flatten

    values = {key: repr(value) if isinstance(value, str) else str(value) for key, value in flatten(config).items()}
    width = min(60, max(len(f"{key} = {value}") for key, value in values.items()))
    lines = [f"{f'{key} = {value}':<{width}}  {origins[key]}" for key, value in values.items()]
    return Result(data, "\n".join(lines))


@command.command("schema")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it to a file instead.")
def schema(output: Path | None) -> Result:
    """Print the JSON Schema of a configuration file, for editors."""
    import json

    from selfimprove.config import schema as describe

    found = describe()
    text = json.dumps(found, indent=2)
    if output is None:
        return Result({"schema": found}, text)
    output.write_text(text + "\n", encoding="utf-8")
    return Result({"file": str(output)}, f"wrote {output}")
