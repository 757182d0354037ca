"""``selfimprove verifiers``: list the ways of judging.

Contract: reads verifier files and imports none.

See it work: ``selfimprove verifiers ls``.
"""

from __future__ import annotations

import click

from selfimprove.cli.command import Group
from selfimprove.cli.output import Result


@click.group("verifiers", cls=Group)
def command() -> None:
    """List verifiers: how a good sample is told from a bad one."""


@command.command("ls")
def ls() -> Result:
    """List every verifier that a configuration can name."""
    from selfimprove.cli.listing import listing

    return listing("verifier")
