"""What the engine is started with. Nothing here imports vllm."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfimprove.errors import ConfigError
from selfimprove.sampling import options
from selfimprove.sampling.vllm import canary_figures, engine_environment

CONFIG_JSON = '{"num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "hidden_size": 896}'


def test_a_cpu_engine_is_one_process_with_one_thread() -> None:
    environment = engine_environment({}, "cpu")
    assert environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert environment["TORCHDYNAMO_DISABLE"] == "1"
    assert environment["OMP_NUM_THREADS"] == "1"
    assert engine_environment({"threads": 3}, "cpu")["OMP_NUM_THREADS"] == "3"
    assert all(isinstance(value, str) for value in environment.values())


def test_a_gpu_engine_keeps_its_own_processes_and_threads() -> None:
    environment = engine_environment({}, "cuda")
    assert not environment.keys() & {"VLLM_ENABLE_V1_MULTIPROCESSING", "TORCHDYNAMO_DISABLE", "OMP_NUM_THREADS"}
    assert engine_environment({"threads": 2}, "cuda")["OMP_NUM_THREADS"] == "2"


def test_a_persons_own_plugins_and_log_level_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_PLUGINS", "mine")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "INFO")
    environment = engine_environment({}, "cpu")
    assert (environment["VLLM_PLUGINS"], environment["VLLM_LOGGING_LEVEL"]) == ("mine", "INFO")


def test_constructing_a_sampler_is_cheap_and_sets_the_environment() -> None:
    code = (
        "import os, sys; from selfimprove.sampling.vllm import VLLMSampler; VLLMSampler({'threads': 2}, {});"
        "assert os.environ['OMP_NUM_THREADS'] == '2';"
        "assert not {'torch', 'vllm', 'transformers', 'ray'} & set(sys.modules)"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "7"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60)


def test_what_a_person_writes_wins_over_our_defaults(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(CONFIG_JSON)
    ours = options.engine_options({}, {}, str(tmp_path), "cpu")
    assert (ours["block_size"], ours["enforce_eager"], ours["enable_chunked_prefill"]) == (32, True, False)
    assert ours["generation_config"] == "vllm"
    given = {"block_size": 64, "max_model_len": 99, "kv_cache_memory_bytes": 12345, "seed": 7}
    theirs = options.engine_options({"engine": given, "dtype": "float32"}, {}, str(tmp_path), "cpu")
    assert theirs.items() >= given.items()
    assert theirs["dtype"] == "float32"


def test_the_cache_is_sized_for_the_model_and_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text(CONFIG_JSON)
    per_token = 2 * 24 * 2 * 64 * 2
    monkeypatch.setattr(options, "_free_memory", lambda: 1 << 40)
    ours = options.engine_options({"dtype": "bfloat16", "engine": {"max_num_seqs": 64}}, {}, str(tmp_path), "cpu")
    assert ours["kv_cache_memory_bytes"] == per_token * 64 * 512
    monkeypatch.setattr(options, "_free_memory", lambda: 8 << 28)
    ours = options.engine_options({"dtype": "bfloat16"}, {}, str(tmp_path), "cpu")
    assert ours["kv_cache_memory_bytes"] == 1 << 28
    assert options.engine_options({}, {}, str(tmp_path / "absent"), "cpu")["kv_cache_memory_bytes"] == 128 << 20


def test_a_gpu_gets_vllms_own_defaults_for_memory(tmp_path: Path) -> None:
    ours = options.engine_options({"tensor_parallel": 2}, {}, str(tmp_path), "cuda")
    assert not ours.keys() & {"block_size", "kv_cache_memory_bytes", "enforce_eager", "max_model_len"}
    assert (ours["tensor_parallel_size"], ours["distributed_executor_backend"]) == (2, "mp")
    assert ours["dtype"] == "auto"


def test_cpu_dtype_is_one_that_both_sides_support() -> None:
    assert options.cpu_dtype() in ("bfloat16", "float32")


def test_unknown_names_come_with_a_suggestion() -> None:
    options.check_names(["top_p"], ["top_p", "top_k"], "sampling.params", "SamplingParams")
    with pytest.raises(ConfigError, match=r"sampling\.params\.top_pp") as caught:
        options.check_names(["top_pp"], ["top_p", "top_k"], "sampling.params", "SamplingParams")
    assert "top_p" in caught.value.hint


def test_canary_figures_compare_the_last_positions() -> None:
    canary = {"ids": [1, 5, 6, 7], "prompt_len": 2, "logprobs": [-1.0, -2.0]}
    figures = canary_figures(canary, [math.nan, -9.0, -1.1, -2.3], 0.25)
    assert figures["mean"] == pytest.approx(0.2)
    assert figures["max"] == pytest.approx(0.3)
    assert (figures["positions"], figures["passed"]) == (2, True)
    assert not canary_figures(canary, [math.nan, -9.0, -1.1, -2.3], 0.1)["passed"]
    whole = {"ids": [1, 5, 6], "prompt_len": 1, "logprobs": [0.0, -1.0, -1.0]}  # the first has no log-probability
    assert canary_figures(whole, [math.nan, -1.0, -1.0], 0.01)["positions"] == 2
    assert canary_figures(canary, [math.nan, -9.0, -1.0], 0.1)["positions"] == 1  # a shorter context


@pytest.mark.parametrize("logprobs", [[math.nan, -1.0], [], [-math.inf, -1.0]])
def test_a_canary_without_a_number_does_not_pass(logprobs: list[float]) -> None:
    assert not canary_figures({"ids": [1, 5, 6], "logprobs": logprobs}, [math.nan, -1.0, -1.0], 0.1)["passed"]
