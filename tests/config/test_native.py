"""Names of native options: right for the installed releases, cached, and never an obstacle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfimprove.config import NATIVE, load_config, native
from selfimprove.errors import ConfigError
from selfimprove.sources import class_fields


@pytest.fixture(autouse=True)
def fresh() -> None:
    native._fields.cache_clear()


def test_well_known_options_are_known() -> None:
    expected = {
        "sampling.engine": {"max_model_len", "max_num_seqs", "gpu_memory_utilization", "enforce_eager"},
        "sampling.params": {"min_p", "repetition_penalty", "bad_words"},
        "training.args": {"learning_rate", "max_steps", "packing", "beta", "loss_type", "warmup_steps"},
        "training.lora": {"r", "lora_alpha", "target_modules", "use_rslora"},
    }
    for key, names in expected.items():
        assert names <= (native.names(NATIVE[key]) or set())


def test_private_and_computed_fields_are_no_options() -> None:
    for kind in NATIVE.values():
        assert not [name for name in native.names(kind) or () if name.startswith("_")]


@pytest.mark.slow
def test_names_read_from_sources_are_those_of_the_real_classes() -> None:
    code = (
        "import dataclasses, json, selfimprove, trl, peft;"
        "from vllm.engine.arg_utils import EngineArgs; from vllm.sampling_params import SamplingParams;"
        "names = lambda c: [f.name for f in dataclasses.fields(c) if f.init and f.name[0] != '_'];"
        "print(json.dumps([names(EngineArgs), [f for f in SamplingParams.__struct_fields__ if f[0] != '_'],"
        "names(trl.SFTConfig), names(trl.DPOConfig), names(peft.LoraConfig)]))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    real = json.loads(output.splitlines()[-1])
    specs = [*NATIVE["sampling.engine"].classes, *NATIVE["sampling.params"].classes]
    specs += [*NATIVE["training.args"].classes, *NATIVE["training.lora"].classes]
    for spec, names in zip(specs, real, strict=True):
        module, _, cls = spec.partition(":")
        assert class_fields(module, cls, set()) == set(names), spec


def test_names_are_kept_until_a_source_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "library_one"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    source = package / "options.py"
    source.write_text("class Options:\n    first: int = 1\n")
    spec = "library_one.options:Options"
    assert native._fields(spec) == {"first"}
    kept = next((tmp_path / "cache" / "selfimprove").glob("*.json"))
    assert json.loads(kept.read_text())["fields"] == ["first"]

    native._fields.cache_clear()
    kept.write_text(kept.read_text().replace("first", "kept"))
    assert native._fields(spec) == {"kept"}

    native._fields.cache_clear()
    source.write_text("class Options:\n    second: int = 1\n")
    assert native._fields(spec) == {"second"}

    native._fields.cache_clear()
    kept.write_text("{broken")
    assert native._fields(spec) == {"second"}


def test_a_cache_that_cannot_be_written_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert "r" in (native.names(NATIVE["training.lora"]) or ())


def test_a_library_that_is_not_there_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert native._fields("no_such_library.options:Options") is None
    assert native.names(native.Native("x", ("no_such_library.options:Options",), {})) is None


def test_bases_are_followed_across_files_and_an_unknown_base_means_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "library_two"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("from .deep import Base as Root\n")
    (package / "deep" / "__init__.py").write_text("if True:\n    from .base import Base\n")
    (package / "deep" / "base.py").write_text(
        "class Base(object):\n    a: int\n    b: int = field(init=False)\n    c: ClassVar[int] = 1\n    _d: int = 1\n"
    )
    (package / "use.py").write_text(
        "import elsewhere\nfrom library_two import Root\n"
        "class Child(Root):\n    e: int = 1\n"
        "class Odd(elsewhere.Thing):\n    f: int = 1\n"
    )
    files: set[Path] = set()
    assert class_fields("library_two.use", "Child", files) == {"a", "e"}
    assert {file.name for file in files} == {"use.py", "base.py"}
    assert class_fields("library_two.use", "Odd", set()) is None


def test_loading_imports_none_of_the_libraries(project: Path) -> None:
    words = ["training.args.learning_rate=1", "training.lora.r=1", "sampling.engine.max_model_len=9"]
    code = (
        "import sys; from selfimprove.config import load_config;"
        f"load_config(['good.yaml'], {words!r});"
        "print([m for m in ('torch', 'vllm', 'trl', 'peft', 'transformers', 'ray', 'datasets') if sys.modules.get(m)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"


def test_what_has_a_key_of_its_own_is_refused_even_if_the_library_knows_it(project: Path) -> None:
    for word in ("sampling.engine.tensor_parallel_size=2", "training.args.seed=1", "sampling.params.max_tokens=3"):
        with pytest.raises(ConfigError, match="not set here: use"):
            load_config(["good.yaml"], [word])
