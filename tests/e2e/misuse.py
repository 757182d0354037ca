"""A tiny scripted project that tests break in one place, the command line that is run on it, and what must hold.

`command` runs ``selfimprove WORDS`` in a process of its own, forked from a server that has paid the imports, so that
a start costs milliseconds. `refused` asserts how every error looks; `kept` is what a run may never lose.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove.store.runs import digests

DONE = (0, 3)
CONFIG: dict[str, Any] = {
    "model": {"build": "selfimprove.testing:tiny_llama"},
    "data": {"problems": "problems.jsonl", "gate": 6, "report": 6},
    "recipe": {"name": "rest_em", "samples": 2},
    "verifier": {"name": "answer_match", "workers": 1},
    "rounds": 1,
    "sampling": {"type": "scripted", "script": "script.py:answer", "part_samples": 8},
    "training": {"type": "recording"},
    "cluster": {"backend": "inline"},
}
PROBLEMS = [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a in range(1, 7) for b in range(1, 5)]
SCRIPT = '''
import os
import time


def answer(messages, index, seed, policy):
    """Right for even seeds; every call is logged."""
    time.sleep(float(os.environ.get("ANSWER_S", "0")))
    with open("calls", "a") as log:
        log.write("+")
    a, b = messages[-1].content.rstrip("=").split("+")
    return str(int(a) + int(b) + seed % 2)
'''
LOCATED = re.compile(r"(\S+:\d+:\d+|[\w.]+=\S*|\S+\.yaml|\S+/?)(: [\w.]+)?: \S")


@dataclass(frozen=True)
class Said:
    """How a command ended: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        """The one object of ``--json``."""
        assert self.out.count("\n") == 1, self.out
        return dict(json.loads(self.out))


def rows(*more: Any, problems: Sequence[dict[str, Any]] = PROBLEMS) -> str:
    """Problems as JSONL; then ``more`` lines, texts as they are and anything else as JSON."""
    lines = [json.dumps(problem) for problem in problems]
    return "\n".join([*lines, *(line if isinstance(line, str) else json.dumps(line) for line in more)]) + "\n"


def create(folder: Path, **changes: Any) -> Path:
    """Write the project; ``changes`` replace keys of its configuration, mappings key by key. Returns its file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "script.py").write_text(SCRIPT)
    (folder / "problems.jsonl").write_text(rows())
    config = dict(CONFIG)
    for name, value in changes.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) and "build" not in value else value
    (folder / "c.yaml").write_text(json.dumps(config, indent=1))
    return folder / "c.yaml"


def _main(words: list[str], folder: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(f".{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)
        os.close(file)
    from selfimprove.cli import main

    sys.exit(main(words))


def start(folder: Path, *words: str | Path, **environment: str) -> multiprocessing.process.BaseProcess:
    """``selfimprove WORDS`` in ``folder``, going on in the background."""
    context = multiprocessing.get_context("forkserver")
    modules = ("selfimprove.run", "selfimprove.cli.run", "selfimprove.cli.show", "selfimprove.sampling.scripted")
    context.set_forkserver_preload([*modules, "selfimprove.training.recording", "pyarrow.parquet"])
    process = context.Process(target=_main, args=([str(word) for word in words], str(folder), environment))
    process.start()
    return process


def said(folder: Path, process: multiprocessing.process.BaseProcess) -> Said:
    """How a process in ``folder`` ends, and what it said."""
    process.join(120)
    assert process.exitcode is not None, "it hangs"
    return Said(process.exitcode, (folder / ".out").read_text(), (folder / ".err").read_text())


def command(folder: Path, *words: str | Path, **environment: str) -> Said:
    """``selfimprove WORDS`` in ``folder``, to its end."""
    return said(folder, start(folder, *words, **environment))


def run(folder: Path, *words: str | Path, **environment: str) -> Said:
    """The project's run: always the same command."""
    return command(folder, "run", "c.yaml", "--progress", "none", *words, **environment)


def refused(found: Said, code: int, *words: str) -> None:
    """An error as people should meet it: the code, the words, short, on stderr alone and without a traceback."""
    assert found.code == code, found
    assert found.out == "", found.out
    for word in words:
        assert word in found.err, f"{word!r} is missing in {found.err!r}"
    assert "Traceback" not in found.err and "internal error" not in found.err, found.err
    lines = [line for line in found.err.splitlines() if not line.startswith("note: ")]
    assert lines[0].startswith("error: ") or LOCATED.match(lines[0]), lines[0]
    assert len(lines) <= 10 and all(len(line) < 1000 for line in lines), found.err


def finished(folder: Path, *words: str | Path, **environment: str) -> Said:
    """The same command goes on and ends well."""
    found = run(folder, *words, **environment)
    assert found.code in DONE, found
    return found


def kept(run_dir: Path) -> dict[str, bytes]:
    """Every committed byte: the markers, and the files that they vouch for."""
    found = {}
    for marker in [*run_dir.rglob("COMMITTED.json"), *run_dir.rglob("parts/*.json")]:
        step = marker.parent.parent if marker.parent.name == "parts" else marker.parent
        outputs = [step / output["path"] for output in json.loads(marker.read_bytes())["outputs"]]
        found |= {str(path.relative_to(run_dir)): path.read_bytes() for path in [marker, *outputs]}
    return found


def results(run_dir: Path) -> dict[str, str]:
    """The canonical digest of every step."""
    return dict(digests(run_dir))


def calls(folder: Path) -> int:
    """Samples drawn so far."""
    log = folder / "calls"
    return log.stat().st_size if log.exists() else 0
