"""Tests of a candidate's program, run by a trusted judge while the candidate sits alone in a cell.

Contract: `run_tests` gives a pass only if every test passed and there was one. Whatever the candidate does (exit,
crash, hang, flood, lie) is a fail with its reason; an exception means that the judge or the task is at fault. Tests
never enter the cell, arguments go in by value, results come out as plain data.

A task is a mapping with ``entry_point`` and ``tests`` (assert snippets, run one after the other), ``io`` (pairs of
arguments and result) or ``test`` (a function ``check(candidate)``); or ``pytest`` (the text of a file that imports the
program as ``module``, by default ``solution``); or ``stdin_tests`` (``input`` and ``output``); or a list of assert
snippets. ``inplace`` hands changed arguments back. ``prompt_is_code`` says that the problem's prompt is the beginning
of the program; a prompt that defines the entry point is recognised.

See it work: ``pytest tests/verifiers/test_unit_tests.py``.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import json
import math
import random
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from selfimprove.sandbox.client import Cell, CellTimeout, Ended, Limits, Sandbox
from selfimprove.sandbox.extract import blocks
from selfimprove.sandbox.proxies import Candidate, CandidateGone
from selfimprove.sandbox.pytests import run_file
from selfimprove.sandbox.values import BadValue
from selfimprove.types import Verdict, failing, passing

SERVE, SCRIPT = "selfimprove.sandbox.inside:serve", "selfimprove.sandbox.inside:script"


@dataclass(frozen=True)
class Task:
    """What is tested: exactly one of ``snippets``, ``pairs``, ``check``, ``scripts`` and ``file`` holds the tests."""

    entry: str = ""
    snippets: tuple[str, ...] = ()
    pairs: tuple[Any, ...] = ()
    check: str = ""
    scripts: tuple[Mapping[str, str], ...] = ()
    prompt: str = ""
    inplace: bool = False
    tolerance: float | None = None
    file: str = ""
    module: str = "solution"


def task_of(tests: Any, prompt: str) -> Task:
    """The task in a problem's tests column. Raises ValueError saying what is missing."""
    if isinstance(tests, str):
        tests = json.loads(tests) if tests.lstrip()[:1] in "[{" else [tests]
    if isinstance(tests, list | tuple) and all(isinstance(test, str) for test in tests):
        tests = {"tests": list(tests)}
    if not isinstance(tests, Mapping):
        raise ValueError("has no tests: a mapping with entry_point and tests, io or test, or with stdin_tests")
    entry = str(tests.get("entry_point") or "")
    listed = tests.get("tests") or tests.get("test_list") or ()
    task = Task(
        entry,
        (listed,) if isinstance(listed, str) else tuple(listed),
        () if listed else tuple(tests.get("io") or ()),
        str(tests.get("test") or ""),
        tuple(tests.get("stdin_tests") or ()),
        prompt if entry and tests.get("prompt_is_code") else _shown(prompt, entry),
        bool(tests.get("inplace")),
        tests.get("tolerance"),
        str(tests.get("pytest") or ""),
        str(tests.get("module") or "solution"),
    )
    if not (task.snippets or task.pairs or task.check or task.scripts or task.file):
        raise ValueError("has no tests: tests, io, test, pytest and stdin_tests are empty")
    if (task.pairs or task.check) and not entry:
        raise ValueError("has tests that call a function, but no entry_point that names it")
    return task


def _shown(prompt: str, entry: str) -> str:
    """The code in a prompt that begins the function asked for: all of it, or a fenced block; else nothing."""
    if not entry or not re.search(rf"^ *def {entry}\b", prompt, re.M):
        return ""
    for text in (prompt, *blocks(prompt)):
        if re.search(rf"^def {entry}\b", text, re.M) and _begun(text) is not None:
            return text
    return ""


def run_tests(sandbox: Sandbox, task: Task, completion: str, limits: Limits, seed: str = "") -> Verdict:
    """The verdict of all tests; ``steps`` holds 1.0 or 0.0 for each, ``measured`` what a passing program used."""
    program = blocks(completion)
    if not program:
        return failing("no program in the completion")
    if task.scripts:
        return _scripts(sandbox, task, program, limits)
    prelude, shared = _prelude(task.prompt, task.entry)
    job = {"blocks": program, "prompt": task.prompt, "entry": task.entry, "shared": sorted(shared)}
    cell = sandbox.open(SERVE, _bytes(job), limits)
    candidate = Candidate(cell, shared, task.inplace)
    try:
        candidate.load()
        if task.file:
            results = run_file(task.file, task.module, candidate)
        else:
            results = _pairs(task, candidate, seed) if task.pairs else _snippets(task, candidate, prelude)
    except CandidateGone:
        return failing(_why(candidate, cell.kill()))
    finally:
        gone = candidate.gone
        ended = cell.kill()
    return _verdict([(ok and not gone, why) for ok, why in results], ended, ended.cpu_s)


def _bytes(job: Mapping[str, Any]) -> bytes:
    return json.dumps(job).encode()


def _why(candidate: Candidate, ended: Ended) -> str:
    if ended.how in ("timeout", "memory", "flooded"):
        return ended.how
    return candidate.gone


def _verdict(results: list[tuple[bool, str]], ended: Ended, cpu_s: float) -> Verdict:
    steps = [float(ok) for ok, _ in results]
    measured = {"seconds": cpu_s, "memory_mb": float(ended.memory_mb)}
    failed = next(((place, why) for place, (ok, why) in enumerate(results, 1) if not ok), None)
    if failed is None and steps:
        return passing(steps=steps, measured=measured)
    place, why = failed or (0, "no test ran")
    return failing(f"test {place} of {len(steps)}: {why}"[:400], score=sum(steps) / max(1, len(steps)), steps=steps)


# -- functions -----------------------------------------------------------------------------------------------------


def _prelude(prompt: str, entry: str) -> tuple[dict[str, Any], dict[str, type]]:
    """What the trusted prompt defines besides the function that is asked for, and the classes among it."""
    if not prompt:
        return {}, {}
    code = _prelude_code(prompt, entry)
    names: dict[str, Any] = {"__name__": "prompt"}
    exec(code, names)
    shared = {name: value for name, value in names.items() if isinstance(value, type) and value.__module__ == "prompt"}
    return names, shared


@functools.lru_cache(maxsize=1024)
def _begun(prompt: str) -> ast.Module | None:
    """The prompt's code, with a body for a function that it leaves open; None if it is no code."""
    for text in (prompt, f"{prompt.rstrip()}\n    pass\n"):
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


@functools.lru_cache(maxsize=1024)
def _prelude_code(prompt: str, entry: str) -> Any:
    tree = _begun(prompt)
    if tree is None:
        raise ValueError("has a prompt that is meant to be code and is not valid Python")
    body = [node for node in tree.body if getattr(node, "name", None) != entry]
    return compile(ast.Module(body, tree.type_ignores), "<prompt>", "exec", dont_inherit=True)


@functools.lru_cache(maxsize=4096)
def _test_code(text: str) -> tuple[Any, frozenset[str]]:
    """A test, compiled, and the names it reads."""
    try:
        tree = ast.parse(text)
        code = compile(tree, "<test>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"has a test that is not valid Python: {error}") from error
    read = (node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    return code, frozenset(read)


def _snippets(task: Task, candidate: Candidate, prelude: Mapping[str, Any]) -> list[tuple[bool, str]]:
    names: dict[str, Any] = {**prelude, "__name__": "tests"}
    if task.entry:
        names[task.entry] = candidate.function(task.entry)
        names["candidate"] = names[task.entry]
    results = []
    tests = task.snippets or (f"{task.check}\n\ncheck({task.entry})\n",)
    for text in tests:
        code, read = _test_code(text)
        _provide(names, read, candidate)
        results.append(_outcome(code, names, candidate))
    return results


def _outcome(code: Any, names: dict[str, Any], candidate: Candidate) -> tuple[bool, str]:
    if candidate.gone:
        return False, candidate.gone
    try:
        exec(code, names)
        return not candidate.gone, candidate.gone
    except CandidateGone as error:
        return False, str(error)
    except AssertionError as error:
        return False, f"wrong result {str(error)[:100]}".strip()
    except Exception as error:  # a test fails on what the candidate gave it
        return False, f"{type(error).__name__}: {str(error)[:200]}"


def _provide(names: dict[str, Any], read: frozenset[str], candidate: Candidate) -> None:
    """Names of a test that neither it nor Python defines: modules that the program imports, and what it defines."""
    for name in read:
        kind = candidate.names.get(name)
        if name in names or hasattr(builtins, name) or kind is None:
            continue
        if kind.startswith("module "):
            module = kind.removeprefix("module ")
            if module.partition(".")[0] in sys.stdlib_module_names:
                names[name] = importlib.import_module(module)
        else:
            names[name] = candidate.named(name)


def _pairs(task: Task, candidate: Candidate, seed: str) -> list[tuple[bool, str]]:
    """Each pair is one call; their order depends on the sample, so that counting calls wins nothing."""
    order = list(range(len(task.pairs)))
    random.Random(seed).shuffle(order)
    results: list[tuple[bool, str]] = [(False, "")] * len(order)
    call = candidate.function(task.entry)
    for place in order:
        args, expected = task.pairs[place]
        try:
            got = call(*args)
            same = _same(got, expected, task.tolerance)
            results[place] = (same, "" if same else "wrong result")
        except CandidateGone as error:
            results[place] = (False, str(error))
        except Exception as error:  # the candidate's own exceptions, rebuilt here
            results[place] = (False, f"{type(error).__name__}: {str(error)[:200]}")
    return results


def _same(got: Any, expected: Any, tolerance: float | None) -> bool:
    """Equal, a tuple as good as a list: files of pairs have no tuples."""
    if isinstance(got, list | tuple) and isinstance(expected, list | tuple):
        return len(got) == len(expected) and all(_same(a, b, tolerance) for a, b in zip(got, expected, strict=True))
    if isinstance(expected, float) and tolerance is not None and isinstance(got, int | float):
        return math.isclose(got, expected, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(got, float) and isinstance(expected, float) and got != got:
        return expected != expected
    return bool(got == expected)


# -- whole programs ------------------------------------------------------------------------------------------------


def _scripts(sandbox: Sandbox, task: Task, program: list[str], limits: Limits) -> Verdict:
    results, used = [], []
    for test in task.scripts:
        said = str(test["output"])
        bounded = replace(limits, output_bytes=max(1 << 16, 4 * len(said) + 4096))
        cell = sandbox.open(SCRIPT, _bytes({"blocks": program}), bounded, stdin=str(test["input"]).encode())
        used.append(_ended(cell))
        results.append(_compared(used[-1], said, task.tolerance))
    most = max(used, key=lambda ended: ended.memory_mb)
    return _verdict(results, most, sum(ended.cpu_s for ended in used))


def _ended(cell: Cell) -> Ended:
    try:
        cell.receive()  # the program closes its end at once: whatever it says there counts for nothing
    except CellTimeout:
        return cell.kill()
    return cell.wait()


def _compared(ended: Ended, expected: str, tolerance: float | None) -> tuple[bool, str]:
    if ended.how != "exit" or ended.code != 0:
        return False, ended.how if ended.how != "exit" else f"exit code {ended.code}"
    try:
        got = ended.stdout.decode()
    except UnicodeDecodeError:
        return False, "output that is no text"
    mine, theirs = _lines(got), _lines(expected)
    if mine == theirs:
        return True, ""
    if tolerance is None or len(mine) != len(theirs):
        return False, "wrong output"
    same = all(_close(a, b, tolerance) for one, two in zip(mine, theirs, strict=True) for a, b in _words(one, two))
    return same, "" if same else "wrong output"


def _lines(text: str) -> list[str]:
    """Lines without what cannot be seen at their ends, nor at the end of all."""
    return [line.rstrip() for line in text.replace("\r\n", "\n").rstrip().split("\n")]


def _words(one: str, two: str) -> list[tuple[str, str]]:
    mine, theirs = one.split(), two.split()
    return list(zip(mine, theirs, strict=True)) if len(mine) == len(theirs) else [("", two)]


def _close(one: str, two: str, tolerance: float) -> bool:
    if one == two:
        return True
    try:
        return math.isclose(float(one), float(two), rel_tol=tolerance, abs_tol=tolerance)
    except ValueError:
        return False


__all__ = ["BadValue", "Task", "run_tests", "task_of"]
