"""Whatever runs in a cell ends with it, within its limits, and reaches nothing. Run: pytest tests/sandbox"""

# ruff: noqa: E501 - programs stand whole on their lines

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from selfimprove.sandbox import CellGarbage, CellTimeout, Ended, Limits, Sandbox, SandboxUnavailable, places
from selfimprove.sandbox.client import LADDER
from selfimprove.sandbox.code import SCRIPT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
WALL_S = 1.5
QUICK = Limits(wall_s=WALL_S, memory_mb=200)


def on(rung: str) -> Sandbox:
    """A sandbox that stands on this rung and on no other."""
    made = Sandbox("rlimits")
    made._allowed = (rung,)
    return made


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with on("namespaces") as made:
        yield made


def run(sandbox: Sandbox, program: str, limits: Limits = QUICK, stdin: bytes = b"") -> tuple[Ended, float]:
    """The program as a script; how its cell ended, and how long that took."""
    began = time.monotonic()
    cell = sandbox.open(SCRIPT, json.dumps({"blocks": [program]}).encode(), limits, stdin=stdin)
    with contextlib.suppress(CellTimeout, CellGarbage):
        cell.receive()
    return cell.wait(), time.monotonic() - began


def inside(sandbox: Sandbox) -> list[psutil.Process]:
    """Processes below the zygote's init: what cells have left."""
    assert sandbox._process is not None
    outer = psutil.Process(sandbox._process.pid)
    return [p for child in outer.children() for p in child.children(recursive=True)]


HOSTILE = {
    "forks without end": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "threads without end": "import threading,time\nwhile True:\n    try: threading.Thread(target=time.sleep,args=(99,)).start()\n"
    "    except RuntimeError: pass",
    "allocates without end": "x=[]\nwhile True: x.append(bytearray(10**6))",
    "allocates in many processes": "import os\nfor _ in range(30): os.fork()\nx=bytearray(30*10**6)\n"
    "for i in range(0,len(x),4096): x[i]=1\nwhile True: pass",
    "prints without end": "while True: print('x'*65536)",
    "complains without end": "import sys\nwhile True: sys.stderr.write('x'*65536)",
    "sleeps": "import time\ntime.sleep(1000)",
    "ignores signals": "import signal\nfor s in range(1,65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
    "    except (OSError,ValueError): pass\nwhile True: pass",
    "holds the interpreter": "x = 9**(9**9)",
    "attaches to its parent": "import ctypes,os\nassert ctypes.CDLL(None).ptrace(16,os.getppid(),0,0)==-1\nraise SystemExit(3)",
    "daemonises": "import os,time\nif os.fork()==0:\n    os.setsid()\n    if os.fork()==0:\n        while True: time.sleep(9)\n"
    "    os._exit(0)\nraise SystemExit(3)",
    "fills the disk": "f=open('/tmp/x','wb')\nwhile True: f.write(b'x'*10**6)",
    "kills everybody": "import os\ntry: os.kill(-1,9)\nexcept OSError: pass\nos.kill(os.getppid(),9)\nraise SystemExit(3)",
    "exhausts descriptors": "x=[]\nwhile True: x.append(open('/dev/null'))",
    "aborts": "import os\nos.abort()",
    "crashes": "import ctypes\nctypes.string_at(0)",
}


@pytest.mark.parametrize("how", HOSTILE)
def test_it_ends_within_its_limit_and_leaves_nothing(sandbox: Sandbox, how: str) -> None:
    ended, seconds = run(sandbox, HOSTILE[how])
    assert (ended.how, ended.code) != ("exit", 0)
    assert seconds < WALL_S + 1
    assert not inside(sandbox)
    good, _ = run(sandbox, "print(input()[::-1])", stdin=b"fine")
    assert (good.how, good.code, good.stdout) == ("exit", 0, b"enif\n")


FORBIDDEN = {
    "the network": "import socket\nsocket.socket()",
    "other namespaces": "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000)==0",
    "mounts": "import ctypes\nassert ctypes.CDLL(None).mount(b'none',b'/tmp',b'tmpfs',0,None)==0",
    "processes of others": "import os\nos.listdir('/proc/1')",
    "the host's users": "open('/etc/passwd').read()",
    "this repository": f"import os\nassert os.listdir({str(Path(__file__).parents[2])!r}+'/tests')",
    "the standard library's files": "import json\nopen(json.__file__,'a')",
    "files outside /tmp": "open('/x','w')",
    "a memory file": "import os\nos.memfd_create('x')",
    "the root user": "import os\nos.setuid(0)",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_a_cell_cannot_reach(sandbox: Sandbox, what: str) -> None:
    ended, _ = run(sandbox, FORBIDDEN[what])
    assert (ended.how, ended.code) == ("exit", 1)


def test_a_cell_sees_nothing_of_the_one_before(sandbox: Sandbox) -> None:
    first, _ = run(sandbox, "open('left','w').write('x'); import os; os.environ['LEFT']='x'")
    second, _ = run(sandbox, "import os; print(os.listdir('.'), 'LEFT' in os.environ)")
    assert (first.code, second.stdout) == (0, b"[] False\n")


def test_a_cell_is_alone_in_its_namespace() -> None:
    with on("namespaces") as sandbox:
        assert run(sandbox, "import os; print(os.getpid(), os.listdir('/tmp'))")[0].stdout == b"1 []\n"


def test_the_strongest_rung_is_taken() -> None:
    for weakest in LADDER:
        with Sandbox(weakest) as sandbox:
            assert sandbox.start() == sandbox.rung == "namespaces"
    with pytest.raises(ValueError, match="isolation 'none' is none of namespaces"):
        Sandbox("none")


def test_a_machine_that_allows_too_little_is_refused() -> None:
    sandbox = Sandbox("bwrap")
    sandbox._allowed = ("bwrap",)  # the root user has none
    if os.geteuid() == 0:
        with pytest.raises(SandboxUnavailable, match="bwrap: ") as raised:
            sandbox.start()
        assert "landlock or rlimits" in raised.value.hint and raised.value.exit_code == 5


def test_hosts_temporary_files_are_not_there(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("expected: 42")
    ended, _ = run(sandbox, f"print(open({str(tmp_path / 'secret')!r}).read())")
    assert ended.code == 1 and b"42" not in ended.stdout


def test_packages_are_found_wherever_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also below /tmp, where a cell has its own files, and before the first cell."""
    for name in ("lazy", "early"):
        (tmp_path / f"{name}.py").write_text("open('/tmp/written', 'w').write('x')\nANSWER = 42")
    tmp_path.chmod(0o755)
    monkeypatch.setattr(places, "packages", lambda: [str(tmp_path)])
    monkeypatch.syspath_prepend(str(tmp_path))
    with Sandbox(preload=["early"]) as sandbox:
        ended, _ = run(
            sandbox, "import os, early\nprint(os.listdir('/tmp'))\nimport lazy\nprint(lazy.ANSWER + early.ANSWER)"
        )
    assert (ended.code, ended.stdout) == (0, b"[]\n84\n")
    with pytest.raises(ValueError, match="preload names no_such_module, which is not installed"):
        Sandbox(preload=["no_such_module"])


def test_garbage_on_the_channel_is_refused(sandbox: Sandbox) -> None:
    program = "import os\nfor fd in range(3,64):\n    try: os.write(fd, b'\\xff'*9)\n    except OSError: pass"
    job = json.dumps({"blocks": [program], "entry": "f"}).encode()
    cell = sandbox.open("selfimprove.sandbox.inside:serve", job, QUICK)
    with pytest.raises(CellGarbage):
        cell.receive()
    cell.kill()
    assert not inside(sandbox)


def test_a_zygote_that_dies_is_replaced() -> None:
    with Sandbox() as sandbox:
        assert run(sandbox, "print(1)")[0].stdout == b"1\n"
        assert sandbox._process is not None
        sandbox._process.kill()
        sandbox._process.wait()
        assert run(sandbox, "print(2)")[0].stdout == b"2\n"


def test_closing_leaves_no_process() -> None:
    before = set(psutil.Process().children(recursive=True))
    sandbox = Sandbox()
    cell = sandbox.open(SCRIPT, json.dumps({"blocks": ["while True: pass"]}).encode(), Limits(60), stdin=b"")
    assert cell is not None
    sandbox.close()
    until = time.monotonic() + 5
    while set(psutil.Process().children(recursive=True)) - before and time.monotonic() < until:
        time.sleep(0.02)
    assert not set(psutil.Process().children(recursive=True)) - before


def test_what_it_used_is_measured(sandbox: Sandbox) -> None:
    light, _ = run(sandbox, "pass")
    heavy, _ = run(sandbox, "x=bytearray(60*2**20)\nfor i in range(3*10**6): pass")
    assert heavy.memory_mb > light.memory_mb + 50 and heavy.cpu_s > light.cpu_s


UNHINDERED = {"kills everybody", "attaches to its parent"}
"""What limits alone do not stop."""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
@pytest.mark.parametrize(
    "user, rung",
    [
        (65534, "namespaces"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((65534, "bwrap"), (65534, "landlock"))),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((65534, "rlimits"), (0, "landlock"))),
    ],
)
def test_it_holds_on_each_rung(tmp_path: Path, user: int, rung: str) -> None:
    """The same programs, run by nobody and by root, with a Python that everybody can read."""
    python = shutil.which("python3", path="/usr/bin:/bin")
    if python is None:
        pytest.skip("no Python that other users can run")
    version = subprocess.run(
        [python, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True, text=True
    )
    if version.stdout.strip() != "True":
        pytest.skip("the system's Python is older than 3.11")
    package = tmp_path / "selfimprove"
    shutil.copytree(Path(__file__).parents[2] / "selfimprove", package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "try.py").write_text(UNPRIVILEGED)
    for path in (tmp_path, *tmp_path.parents[:3]):
        path.chmod(0o755)
    command = [
        "setpriv",
        "--reuid",
        str(user),
        "--regid",
        str(user),
        "--clear-groups",
        python,
        str(tmp_path / "try.py"),
    ]
    limits_alone = rung == "rlimits"
    hostile = {how: program for how, program in HOSTILE.items() if not limits_alone or how not in UNHINDERED}
    forbidden = {} if limits_alone else FORBIDDEN
    found = subprocess.run(
        [*command, rung, json.dumps(hostile), json.dumps(forbidden)], capture_output=True, text=True, cwd="/", timeout=120,
        env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    if "cannot be isolated" in found.stderr:
        pytest.skip(found.stderr.strip().rpartition("\n")[2])
    results: dict[str, Any] = json.loads(found.stdout)
    assert set(results) == {*hostile, *forbidden, "good"}
    assert results.pop("good") == ["exit", 0, "fine\n"]
    assert not [name for name, (how, code, _) in results.items() if (how, code) == ("exit", 0)]
    assert not [name for name in hostile if results[name][2] > 2.5]


UNPRIVILEGED = """
import json, sys, time
sys.path.insert(0, __file__.rpartition("/")[0])
from selfimprove.sandbox.client import CellGarbage, CellTimeout, Limits, Sandbox
results = {}
with Sandbox("rlimits") as sandbox:
    sandbox._allowed = (sys.argv[1],)
    for programs in map(json.loads, sys.argv[2:]):
        for name, program in programs.items():
            began = time.monotonic()
            job = json.dumps({"blocks": [program]}).encode()
            cell = sandbox.open("selfimprove.sandbox.inside:script", job, Limits(1.5, 200), stdin=b"")
            try: cell.receive()
            except (CellTimeout, CellGarbage): pass
            ended = cell.wait()
            results[name] = [ended.how, ended.code, time.monotonic() - began]
    cell = sandbox.open("selfimprove.sandbox.inside:script", json.dumps({"blocks": ["print('fine')"]}).encode(), Limits(), stdin=b"")
    ended = cell.wait()
    results["good"] = [ended.how, ended.code, ended.stdout.decode()]
print(json.dumps(results))
"""
