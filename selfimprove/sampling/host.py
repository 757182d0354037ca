"""The other side of `selfimprove.sampling.apart`: an engine that is asked on standard input.

Contract: one JSON object a line in, one a line out; whatever libraries print goes to standard error. Ends at the end of
its input.

See it work: ``pytest tests/sampling/test_apart.py``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from selfimprove.sampling.apart import params_of, request_of
from selfimprove.types import Policy

KINDS = {
    "vllm": "selfimprove.sampling.vllm:VLLMSampler",
    "scripted": "selfimprove.sampling.scripted:ScriptedSampler",
}


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what is printed from here on is no answer
    sampler: Any = None
    for line in sys.stdin:
        told = json.loads(line)
        try:
            if told["method"] == "begin":
                sampler, value = _begin(*told["args"])
            else:
                value = _answer(sampler, told["method"], told["args"], told["named"])
            body: dict[str, Any] = {"value": value}
        except Exception as error:  # the wall of a process: whatever was raised is the answer
            said = {"type": type(error).__name__, "message": str(error), "hint": getattr(error, "hint", "")}
            body = {"error": said}
        answers.write(json.dumps(body, default=asdict) + "\n")
        answers.flush()
    if sampler is not None:
        sampler.close()


def _begin(config: Mapping[str, Any], model: Mapping[str, Any]) -> tuple[Any, str]:
    from selfimprove import __version__

    module, _, name = KINDS[config["type"]].partition(":")
    return getattr(importlib.import_module(module), name)(config, model), __version__


def _answer(sampler: Any, method: str, args: list[Any], named: Mapping[str, Any]) -> Any:
    if method == "load":
        return sampler.load(Policy(**args[0]), **named)
    if method == "pump":
        return sampler.pump([request_of(told) for told in args[0]], params_of(args[1]))
    if method not in ("partials", "abort", "score"):
        raise ValueError(f"no such call: {method}")
    return getattr(sampler, method)(*args)


if __name__ == "__main__":
    main()
