"""A pytest file as the tests of a candidate's program: pytest runs in the judge, the program is a proxy module.

Contract: the file imports the program by its module's name (``solution`` unless the task says otherwise); what it finds
there are proxies. Functions, parametrisation, fixtures of the file and unittest classes work; ``conftest.py``, plugins
and configuration files of this machine are not read. A skipped test counts as none. Raises ValueError for a file that
is at fault by itself: no Python, or an import of something else that is missing.

See it work: ``pytest tests/verifiers/test_unit_tests.py -k pytest``.
"""

from __future__ import annotations

import os
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from selfimprove.sandbox.proxies import Candidate, CandidateGone

_OPTIONS = ["-q", "--noconftest", "--import-mode=importlib", "-p", "no:cacheprovider", "-p", "no:faulthandler"]
_NO_PLUGINS = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"


def run_file(text: str, module: str, candidate: Candidate) -> list[tuple[bool, str]]:
    """Whether each test passed, and if not, why; one failure without a test if the file cannot use the program."""
    import pytest

    try:
        compile(text, "test_solution.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"has a pytest file that is not valid Python: {error}") from error
    record = _Record(candidate)
    kept, known = os.environ.get(_NO_PLUGINS), sys.modules.get(module)
    with tempfile.TemporaryDirectory(prefix="selfimprove-pytest-") as folder:
        file = Path(folder, "test_solution.py")
        file.write_text(text)
        os.environ[_NO_PLUGINS] = "1"
        sys.modules[module] = _Solution(module, candidate)
        try:
            pytest.main([*_OPTIONS, "--rootdir", folder, "-c", os.devnull, str(file)], plugins=[record])
        finally:
            for name in [name for name, value in sys.modules.items() if _is_below(value, folder)]:
                del sys.modules[name]
            sys.modules.pop(module)
            if known is not None:
                sys.modules[module] = known
            os.environ.pop(_NO_PLUGINS)
            if kept is not None:
                os.environ[_NO_PLUGINS] = kept
    if record.fault:
        raise ValueError(f"has a pytest file that {record.fault}")
    return list(record.results.values())


def _is_below(module: Any, folder: str) -> bool:
    return str(getattr(module, "__file__", None) or "").startswith(folder)


class _Solution(types.ModuleType):
    """The module that a test file imports: what the candidate defines, by proxy."""

    def __init__(self, name: str, candidate: Candidate) -> None:
        super().__init__(name)
        self.__dict__["_candidate"] = candidate
        self.__dict__["__all__"] = [found for found, kind in candidate.names.items() if not kind.startswith("module ")]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._candidate.names:
            raise AttributeError(f"the program defines no {name!r}")
        return self._candidate.named(name)


class _Record:
    """A pytest plugin that keeps each test's outcome."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.results: dict[str, tuple[bool, str]] = {}
        self.fault = ""

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        raised = call.excinfo
        skipped = raised is not None and type(raised.value).__name__ == "Skipped"
        if skipped:
            return
        why = ""
        if raised is not None:
            gone = isinstance(raised.value, CandidateGone)
            why = str(raised.value) if gone else f"{type(raised.value).__name__}: {str(raised.value)[:200]}"
        elif self.candidate.gone:
            why = self.candidate.gone
        if why or (call.when == "call" and item.nodeid not in self.results):
            self.results[item.nodeid] = (not why, why)

    def pytest_exception_interact(self, node: Any, call: Any, report: Any) -> None:
        if report.when != "collect":
            return
        error = call.excinfo.value
        missing = getattr(error, "name", None) if isinstance(error.__cause__ or error, ImportError) else None
        words = str(error)
        if "the program defines no" in words or "cannot import name" in words or self.candidate.gone:
            self.results["collect"] = (False, self.candidate.gone or "it lacks what the tests import")
        elif missing or "ModuleNotFoundError" in words or "ImportError" in words:
            self.fault = f"cannot be imported: {words.strip().splitlines()[-1][:200]}"
        else:
            self.results["collect"] = (False, f"the tests cannot begin: {words.strip().splitlines()[-1][:200]}")
