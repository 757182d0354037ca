"""What a run is: begun once with one configuration, recognised when it has done all that is asked.

Contract: ``run.json`` is written once and holds the configuration's meaning; a configuration that differs from it is
refused by name. Growth (more rounds, another stop rule) and execution choices are no difference.

See it work: ``selfimprove run quickstart`` and then ``selfimprove run quickstart recipe.temperature=0.7``.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from selfimprove import __version__
from selfimprove.config import RunConfig, diff, dump_yaml, semantic
from selfimprove.errors import FingerprintError
from selfimprove.store.digest import digest
from selfimprove.store.failpoints import failpoint
from selfimprove.store.files import RunFiles
from selfimprove.store.runs import read_begun, read_sealed, sealed


@dataclass(frozen=True)
class RunResult:
    """How a run ended: the process's exit code, one sentence with what to type next, and the figures."""

    exit_code: int
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)


def check_config(files: RunFiles, config: RunConfig) -> None:
    """Refuse a configuration that differs in meaning from the one the run was begun with."""
    begun = read_begun(files)
    changed = diff(begun["config"], semantic(config)) if begun else []
    if changed:
        raise FingerprintError(
            f"{files.root}: the configuration changed since this run began:\n  " + "\n  ".join(changed),
            hint="undo the change, or start another run with --run-dir (finished work is never overwritten)",
        )


def create(files: RunFiles, config: RunConfig) -> None:
    """Record what this run is, once; the resolved configuration follows growth such as more rounds."""
    body = {"schema": "selfimprove.run", "version": 1, "id": uuid.uuid4().hex[:12], "selfimprove": __version__}
    whole = {**body, "created": time.time(), "config": semantic(config)}
    files.put_if_absent("run.json", sealed(whole))
    files.replace_small("config.resolved.yaml", dump_yaml(config).encode())
    failpoint("run.created")


def goal(config: RunConfig) -> str:
    """What a finished run was finished for: its meaning, its rounds and its stop rules."""
    return digest([semantic(config), config.rounds, config.stop.model_dump()])


def read_finished(files: RunFiles, config: RunConfig) -> RunResult | None:
    """The recorded end of a run that has already done all that is asked, or None."""
    body = read_sealed(files, "FINISHED.json")
    if body is None or body["goal"] != goal(config):
        return None
    return RunResult(body["exit_code"], f"nothing to do: {body['message']}", body["data"])
