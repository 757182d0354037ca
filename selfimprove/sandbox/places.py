"""Where a sandbox finds Python, and how a zygote is started: alone, or behind bubblewrap.

Contract: standard library only; what is named here is all of this machine's files that a program in a cell may read.

See it work: ``pytest tests/sandbox``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

from selfimprove.sandbox.zygote import SYSTEM

ENVIRONMENT = {
    "LANG": "C.UTF-8", "HOME": "/tmp", "PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
}  # fmt: skip
_STARTER = (
    "import sys,types\n"
    "for name,where in (('selfimprove',{0!r}),('selfimprove.sandbox',{1!r})):\n"
    "    module=types.ModuleType(name);module.__path__=[where];sys.modules[name]=module\n"
    "import json\nfrom selfimprove.sandbox import zygote\n"
    "zygote.main(int(sys.argv[1]),json.loads(sys.argv[2]))\n"
)


def starter(channel: int, settings: dict[str, Any]) -> list[str]:
    """The command of a zygote: a bare interpreter, which imports neither ``site`` nor the rest of this package."""
    home = Path(__file__).resolve().parent
    code = _STARTER.format(str(home.parent), str(home))
    return [sys.executable, "-I", "-S", "-B", "-c", code, str(channel), json.dumps(settings)]


def bubble() -> list[str] | None:
    """The command that puts the zygote behind bubblewrap's walls; None where it cannot or need not."""
    program = shutil.which("bwrap")
    if program is None or os.geteuid() == 0:
        return None
    package = str(Path(__file__).resolve().parent.parent)
    places = [
        os.path.realpath(sys.executable),
        os.path.dirname(sys.executable),
        package,
        *python(),
        *packages(),
        *SYSTEM,
    ]
    links = [place for place in SYSTEM if os.path.islink(place)]
    command = [program, "--unshare-all", "--die-with-parent", "--new-session", "--dev", "/dev", "--proc", "/proc"]
    command += ["--size", str(64 << 20), "--tmpfs", "/tmp"]
    for place in links:
        command += ["--symlink", os.readlink(place), place]
    for place in dict.fromkeys(place for place in places if place not in links and os.path.exists(place)):
        command += ["--ro-bind", place, place]
    return [*command, "--remount-ro", "/", "--"]


def packages() -> list[str]:
    """Where installed packages are."""
    paths = sysconfig.get_paths()
    return [os.path.realpath(place) for place in dict.fromkeys((paths["purelib"], paths["platlib"]))]


def python() -> list[str]:
    """What a Python program may read besides installed packages: the interpreter with its libraries."""
    paths = sysconfig.get_paths()
    prefix = sys.base_prefix
    places = [
        f"{prefix}/lib",
        f"{prefix}/bin",
        paths["stdlib"],
        paths["platstdlib"],
    ]
    return [os.path.realpath(place) for place in dict.fromkeys(places) if place not in ("/lib", "/bin")]
