"""One process of a launched training: ``python -m selfimprove.training.rank FOLDER``.

Contract: reads the request that `selfimprove.training.launch` wrote into ``FOLDER``; the first process writes the
result there, the first one that fails its error. Ends with the process that started it.

See it work: ``pytest tests/training/test_launch.py``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import sys
import traceback
from pathlib import Path

from selfimprove.errors import PreconditionError, SelfImproveError
from selfimprove.processes import end_with_parent
from selfimprove.training import launch
from selfimprove.training.trl import TRLTrainer


def main(folder: Path) -> int:
    """Run this process's share of the training; the exit code."""
    from selfimprove import __version__

    end_with_parent()  # the launcher: without it we would wait for each other
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(message)s")
    told = json.loads((folder / launch.REQUEST).read_text(encoding="utf-8"))
    try:
        if told["release"] != __version__:
            raise PreconditionError(
                f"training.python has selfimprove {__version__}, this is {told['release']}",
                hint="install the same release in both environments",
            )
        result = TRLTrainer(told["config"], told["model"]).train(launch.request_of(told["request"]))
    except Exception as error:  # the wall of a process: whatever was raised is told to who started it
        traceback.print_exc()
        _tell(folder, error)
        return error.exit_code if isinstance(error, SelfImproveError) else 1
    if result.source:
        fresh = folder / (launch.RESULT + ".new")
        fresh.write_text(json.dumps(dataclasses.asdict(result)), encoding="utf-8")
        fresh.rename(folder / launch.RESULT)
    return 0


def _tell(folder: Path, error: Exception) -> None:
    """The first error counts: others may only follow from it. What cannot be written is in the log all the same."""
    said = {"type": type(error).__name__, "message": str(error), "hint": getattr(error, "hint", "")}
    said["errno"] = error.errno if isinstance(error, OSError) else None
    fresh = folder / f"{launch.ERROR}.{os.getpid()}"
    with contextlib.suppress(OSError):
        fresh.write_text(json.dumps(said), encoding="utf-8")
        os.link(fresh, folder / launch.ERROR)


def leave(code: int) -> None:
    """End this process with ``code``, whatever its libraries' threads do.

    A thread of the communication library that is alive while the interpreter is taken down aborts the process, and a
    training that is done would count as failed (seen with gloo, once in some forty trainings).
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main(Path(sys.argv[1])))
