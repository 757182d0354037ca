"""Case files and verifiers that misbehave in one way each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selfimprove.audit.check import check_cases
from selfimprove.audit.report import data
from selfimprove.audit.runner import Setting

HEAD = "import os, subprocess, sys, tempfile, threading, time\n"
HONEST = """
def judge(problem, sample):
    return sample.completion.strip() == problem.answer
"""


def verifier(directory: Path, body: str, name: str = "mine.py") -> str:
    file = directory / name
    file.write_text(HEAD + body)
    return f"{file}:judge"


def case(identity: str, completion: str, accept: bool, gold: str = "42", **more: Any) -> dict[str, Any]:
    task = {"prompt": f"What is asked by {identity}?", "gold": gold}
    fixed = {"id": identity, "kind": "math", "category": "honest" if accept else "cheat", "why": "made for a test"}
    return {**fixed, "task": task, "completion": completion, "must_accept": accept, **more}


def plain_cases(n: int = 2) -> list[dict[str, Any]]:
    """``n`` right answers and ``n`` wrong ones."""
    right = [case(f"right-{i}", "42", True) for i in range(n)]
    return right + [case(f"wrong-{i}", "7", False) for i in range(n)]


def write_cases(directory: Path, cases: Iterable[Mapping[str, Any]], name: str = "cases.jsonl") -> Path:
    file = directory / name
    file.write_text("".join(json.dumps(one) + "\n" for one in cases))
    return file


def audit(
    directory: Path, body: str, cases: Iterable[Mapping[str, Any]], *, kinds: tuple[str, ...] = (), **setting: Any
) -> dict[str, Any]:
    """The figures of a verifier with the source ``body`` on ``cases``."""
    file, spec = write_cases(directory, cases), verifier(directory, body)
    fixed = Setting(**{"workers": 2, "timeout_s": 30.0, **setting})
    return data(check_cases(spec, [file], setting=fixed, say=lambda line: None, kinds=kinds))
