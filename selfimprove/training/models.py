"""Model directories: what may be loaded, how, and what a trained one holds.

Contract: weights are read from safetensors only and no code of a model runs unless the config allows it. A trained
model is saved in the precision of its start policy; config, tokenizer and generation settings are that policy's
files, byte for byte.

See it work: ``pytest tests/training/test_models.py``.
"""

from __future__ import annotations

import errno
import json
import shutil
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfimprove.errors import PreconditionError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG, GENERATION = "config.json", "generation_config.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tokenizer_config.json")
SIDE_FILES = (
    CONFIG,
    GENERATION,
    *("tokenizer*", "*.model", "*.tiktoken", "vocab*", "merges.txt", "added_tokens.json", "special_tokens_map.json"),
    *("*.jinja", "chat_template*", "preprocessor_config.json", "processor_config.json", "*.py"),
)
QUANTIZED = "quantized.json"
DTYPES = {"F64": "float32", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
EAGER_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Weights:
    """What to load: a model directory, an adapter on top, and whether that is merged into it."""

    directory: Path
    adapter: Path | None = None
    merged: bool = False


@dataclass(frozen=True, slots=True)
class Loading:
    """How to load: torch dtype name, attention kernel, other `from_pretrained` options, and a base in 4 bits (nf4)."""

    dtype: str
    attention: str | None = None
    options: tuple[tuple[str, Any], ...] = ()
    trust_remote_code: bool = False
    quantize: str = ""


def local(source: str) -> Path:
    """The directory of a policy's source; a hub id (``org/name@revision``) is fetched. Checked by `check`."""
    from selfimprove.prompts import split_revision

    directory = Path(source)
    if not directory.is_dir():
        name, revision = split_revision(source)
        if source.startswith((".", "/", "~")) or source.count("/") != 1:
            raise PreconditionError(f"{source}: no such model directory", hint="check the path of the model")
        directory = _fetch(source, name, revision)
    check(directory)
    return directory


def _fetch(source: str, name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=[*SIDE_FILES, "*.safetensors*"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, ValueError) as error:
        raise PreconditionError(
            f"{source}: neither a directory nor a model that can be fetched: {error}",
            hint="check the path; without a network, fetch the model first and give its directory",
        ) from error


def check(directory: Path) -> None:
    """PreconditionError naming what a model directory lacks, and the fix."""
    if not (directory / CONFIG).is_file():
        raise PreconditionError(f"{directory}: no {CONFIG}", hint="give the directory that save_pretrained wrote")
    if not any((directory / name).is_file() for name in TOKENIZERS):
        raise PreconditionError(
            f"{directory}: no tokenizer", hint="save the tokenizer beside the weights: tokenizer.save_pretrained(...)"
        )
    if not any(directory.glob("*.safetensors")):
        pickled = sorted(path.name for path in directory.glob("*") if path.suffix in (".bin", ".pt", ".pth"))
        found = f"only {', '.join(pickled)}, which can run code when it is read" if pickled else "none"
        raise PreconditionError(
            f"{directory}: no safetensors weights ({found})",
            hint="load it once where you trust it and save it again: model.save_pretrained(directory)",
        )


def check_adapter(directory: Path) -> None:
    """PreconditionError unless ``directory`` holds a PEFT adapter in safetensors."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (directory / name).is_file():
            raise PreconditionError(
                f"{directory}: no {name}", hint="give a directory that PEFT's save_pretrained wrote"
            )


def stored_dtype(directory: Path) -> str:
    """The torch dtype name that most weights of a model directory are stored in."""
    counts: Counter[str] = Counter()
    for path in sorted(directory.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        counts.update(entry["dtype"] for name, entry in header.items() if name != "__metadata__")
    dtype = counts.most_common(1)[0][0] if counts else "F32"
    if dtype not in DTYPES:
        raise PreconditionError(
            f"{directory}: weights stored as {dtype} cannot be trained",
            hint="give the unquantised model (float32, bfloat16 or float16)",
        )
    return DTYPES[dtype]


def context_tokens(directory: Path) -> int | None:
    """The longest sequence the model was made for, in tokens, if its config says so."""
    config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    limit = config.get("max_position_embeddings") or config.get("text_config", {}).get("max_position_embeddings")
    return int(limit) if limit else None


def vocabulary(directory: Path) -> int:
    """Number of token ids the model has a row for in its config."""
    config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    return int(config.get("vocab_size") or config.get("text_config", {}).get("vocab_size") or 2**31)


def attention(longest: int, cuda: bool) -> str | None:
    """The attention kernel for rows of at most ``longest`` tokens; None = transformers' own choice.

    On a CPU the fused kernel costs more than it saves on short rows: a training step of 64 rows of 16 tokens in
    bfloat16 takes 68 ms with it and 31 ms without; at 1024 tokens it wins by two.
    """
    return "eager" if not cuda and longest <= EAGER_TOKENS else None


def load(weights: Weights, how: Loading, *, trainable: bool = False) -> PreTrainedModel:
    """A causal language model from files; with an unmerged adapter, a PEFT model."""
    import torch
    from transformers import AutoModelForCausalLM

    options = dict(how.options)
    if how.attention is not None:
        options.setdefault("attn_implementation", how.attention)
    if how.quantize:
        options["quantization_config"] = _four_bits(how.dtype)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            weights.directory,
            **{"dtype": getattr(torch, how.dtype), **options},
            use_safetensors=True,
            trust_remote_code=how.trust_remote_code,
        )
    except (OSError, ValueError, KeyError) as error:
        raise PreconditionError(f"{weights.directory}: the model cannot be loaded: {error}") from error
    if weights.adapter is None:
        return model
    from peft import PeftModel

    check_adapter(weights.adapter)
    adapted = PeftModel.from_pretrained(model, str(weights.adapter), is_trainable=trainable)
    if not weights.merged:
        return adapted
    # PEFT froze the base when it wrapped it, and leaves it so
    return adapted.merge_and_unload().requires_grad_(trainable)


def save(model: PreTrainedModel, start: Path, output: Path, weights: Mapping[str, Any] | None = None) -> None:
    """Write ``model`` to the new directory ``output`` in the precision of ``start``, with that model's side files.

    ``weights``: its whole tensors, where the model itself lies in shards.
    """
    import torch

    dtype = getattr(torch, stored_dtype(start))
    if weights is None:
        model.to(dtype)
    else:
        tied = set(getattr(model, "all_tied_weights_keys", ()))
        weights = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor
            for name, tensor in weights.items()
            if name not in tied
        }
    output.mkdir(parents=True)
    with disk_full(output):
        model.save_pretrained(output, state_dict=weights)
    for name in (CONFIG, GENERATION):
        (output / name).unlink(missing_ok=True)
    copy_side_files(start, output)


def _four_bits(dtype: str) -> Any:
    """NF4 with a scale per block, which gives the same values when it is applied to its own result."""
    import importlib.util

    import torch
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise PreconditionError("training.quantize needs bitsandbytes", hint="pip install bitsandbytes")
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, dtype)
    )


def round_base(directory: Path, how: Loading, output: Path) -> Path:
    """A base whose weights are the values that its 4-bit form stands for, so that what is served is what was trained.

    ``directory`` itself if it is one already, else written to ``output`` in the precision of ``directory``.
    """
    if (output / QUANTIZED).is_file():  # another process of this training wrote it
        return output
    told = directory / QUANTIZED
    if told.is_file() and json.loads(told.read_text(encoding="utf-8")) == {"quantize": how.quantize}:
        return directory
    fresh = output.with_name(output.name + "-rounded")
    # on the CPU: the whole base in 16 bits may not fit where its 4-bit form does
    options = (*how.options, ("device_map", {"": "cpu"}))
    model = load(Weights(directory), replace(how, dtype=stored_dtype(directory), options=options)).dequantize()
    save(model, directory, fresh)
    (fresh / QUANTIZED).write_text(json.dumps({"quantize": how.quantize}) + "\n", encoding="utf-8")
    if output.exists():  # what was merged on the way
        shutil.rmtree(output)
    fresh.rename(output)
    return output


@contextmanager
def disk_full(output: Path) -> Iterator[None]:
    """safetensors reports a full disk with an error of its own, which names the operating system's code."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        if any(f"os error {code}" in str(error) for code in (errno.ENOSPC, errno.EDQUOT)):
            raise OSError(errno.ENOSPC, f"no space left to save {output}") from error
        raise


def copy_side_files(start: Path, output: Path) -> None:
    """Config, tokenizer and generation settings of ``start``, unchanged."""
    for pattern in SIDE_FILES:
        for path in sorted(start.glob(pattern)):
            if path.is_dir():
                shutil.copytree(path, output / path.name, dirs_exist_ok=True)
            else:
                shutil.copyfile(path, output / path.name)


def save_adapter(model: Any, output: Path, weights: Mapping[str, Any] | None = None) -> None:
    """Write the trained adapter of a PEFT model to the new directory ``output``; ``weights`` as in `save`.

    PEFT's config names its base by path and lists a set in no order: both would make equal adapters differ.
    """
    with disk_full(output):
        model.save_pretrained(str(output), selected_adapters=["default"], state_dict=weights)
    (output / "README.md").unlink(missing_ok=True)
    path = output / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = None
    for key, value in config.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            config[key] = sorted(value)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
