"""One training in several gloo processes: ``python -m tests.training.ranks REQUEST.json``, started once per rank."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from selfimprove.training.trl import TRLTrainer
from selfimprove.types import Policy, TrainRequest


def main(file: str) -> None:
    told = json.loads(Path(file).read_text())
    output = f"{told['output']}-{os.environ['RANK']}"
    Path(output).mkdir()
    start = Policy(told["start"], "tiny")
    against = start if told["objective"] == "dpo" else None
    request = TrainRequest(
        told["objective"], told["examples"], start, output, reference=against, args=told["args"], dtype="float32"
    )
    TRLTrainer({"threads": 1}, {}).train(request)


if __name__ == "__main__":
    main(sys.argv[1])
