"""A round as plain scripts: vLLM draws its samples, TRL trains on its rows, and nothing of this package is imported.

Contract: reads what is committed and changes nothing. Written are the samples with their prompts' ids, seeds and
verdicts, the training rows as ids, and two scripts that use them. On the machine and versions of the run ``sample.py``
draws the same tokens; ``train.py`` trains on the same rows with TRL's own loop, so its weights are near, not equal.
Weights of rows are written, and TRL knows none. Rounds of preference pairs get their rows and no training script; runs
with adapters are refused.

See it work: ``pytest tests/test_eject.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from selfimprove.config import RunConfig, load_config
from selfimprove.context import judged_samples, read_step
from selfimprove.errors import ConfigError
from selfimprove.store.files import RunFiles
from selfimprove.store.runs import committed, open_run
from selfimprove.store.steps import Marker
from selfimprove.store.tables import read_examples
from selfimprove.training import rows
from selfimprove.types import Demonstration, Example

SAMPLES, ROWS = "samples.jsonl", "rows.jsonl"
_SAMPLE = '''\
"""Round {round}'s samples once more, by vLLM alone: python sample.py writes again.jsonl."""

import json

from vllm import LLM, SamplingParams

MODEL = {model!r}
ENGINE = {engine}
PARAMS = {params}

if __name__ == "__main__":
    rows = [json.loads(line) for line in open("samples.jsonl")]
    llm = LLM(model=MODEL, **ENGINE)
    params = [SamplingParams(seed=row["seed"], **PARAMS) for row in rows]
    outputs = llm.generate([{{"prompt_token_ids": row["prompt_ids"]}} for row in rows], params)
    with open("again.jsonl", "w") as file:
        for row, output in zip(rows, outputs, strict=True):
            said = output.outputs[0]
            again = {{"id": row["id"], "token_ids": list(said.token_ids), "completion": said.text}}
            file.write(json.dumps(again) + "\\n")
'''
_TRAIN = '''\
"""Round {round}'s training, by TRL alone: python train.py writes trained/."""

import json

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

MODEL = {model!r}
ARGS = {args}

if __name__ == "__main__":
    rows = [json.loads(line) for line in open("rows.jsonl")]
    data = Dataset.from_list(
        [
            {{
                "input_ids": row["prompt_ids"] + row["completion_ids"],
                "completion_mask": [0] * len(row["prompt_ids"]) + [1] * len(row["completion_ids"]),
            }}
            for row in rows
        ]
    )
    gpu = torch.cuda.is_available()
    usual = {{"completion_only_loss": True, "max_length": None, "report_to": "none", "use_cpu": not gpu, "bf16": gpu}}
    args = SFTConfig(output_dir="trained", **{{**usual, **ARGS}})
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32),
        args=args,
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(MODEL),
    )
    trainer.train()
    trainer.save_model()
'''


def eject(run_dir: Path, index: int, output: Path) -> dict[str, Any]:
    """Write round ``index`` into ``output``, a new or empty directory.

    Raises ConfigError if that round has not chosen its training rows yet, and for a run with adapters.
    """
    files, config = open_run(run_dir.resolve()), load_config([str(run_dir)], [])
    place = f"rounds/{index:03d}"
    done = dict(committed(files, place))
    training = next((key for key in done if key.endswith("/examples")), None)
    attempts = [key.removesuffix("/samples") for key in done if key.endswith("/samples") and key.count("/") == 3]
    attempts = [key for key in attempts if not key.endswith("/gate")]
    if training is None or not attempts:
        raise ConfigError(f"{run_dir}: round {index} has no training rows yet", hint="run it, at least --until select")
    if config.training.lora is not None:
        raise ConfigError(f"{run_dir}: policies of adapters are not written as scripts yet")
    if output.exists() and any(output.iterdir()):
        raise ConfigError(f"{output} exists and is not empty")
    policies = dict(_policies(files, config))
    output.mkdir(parents=True, exist_ok=True)
    count, sampled_by = _write_samples(files, attempts, output / SAMPLES)
    started = done.get(training.removesuffix("examples") + "policy")
    start = started.inputs["start"] if started else sampled_by
    kind, trained = _write_rows(files, config, training, policies[start], output / ROWS)
    sampler = _sample_script(config, index, policies[sampled_by], done[f"{attempts[0]}/samples"])
    (output / "sample.py").write_text(sampler)
    if kind == "sft":
        own = json.loads(started.inputs["args"]) if started else config.training.args
        script = _TRAIN.format(round=index, model=policies[start], args=_pretty(own))
        (output / "train.py").write_text(script)
    return {"output": str(output), "round": index, "samples": count, "rows": trained, "objective": kind}


def _policies(files: RunFiles, config: RunConfig) -> Iterator[tuple[str, str]]:
    """Digest -> directory of every policy that the run knows."""
    for key, marker in committed(files):
        if key == "setup/model":
            source = marker.data.get("source")
            yield marker.digest, str(files.local(key) / source) if source else str(config.model.source)
        elif key.endswith("/policy"):
            yield marker.digest, str(files.local(key) / marker.data["source"])


def _write_samples(files: RunFiles, attempts: list[str], file: Path) -> tuple[int, str]:
    """How many samples there are, and the policy that drew the first."""
    count, policy = 0, ""
    with file.open("w") as out:
        for row, verdict in (pair for key in attempts for pair in judged_samples(files, key)):
            said = {"outcome": verdict.outcome} if verdict is not None else {}
            shown = {"id": row.id, "problem_id": row.problem_id, "seed": row.seed, "finish": row.finish}
            ids = {"prompt_ids": list(row.prompt_ids), "token_ids": list(row.token_ids)}
            out.write(json.dumps({**shown, "completion": row.completion, **said, **ids}) + "\n")
            count, policy = count + 1, policy or row.policy
    return count, policy


def _write_rows(files: RunFiles, config: RunConfig, key: str, model: str, file: Path) -> tuple[str, int]:
    """The objective and the number of rows, written as the ids that are trained on."""
    step = read_step(files, key)
    assert step is not None and step.marker is not None
    examples: list[Example] = list(read_examples(step.path(step.marker.outputs[0])))
    kind = "sft" if isinstance(examples[0], Demonstration) else "dpo"
    encoder = rows.encoder_of(Path(model), config.model.model_dump(), config.training.max_tokens)
    names = ("completion_ids",) if kind == "sft" else ("chosen_ids", "rejected_ids")
    kept = rows.encode(kind, examples, encoder).kept
    with file.open("w") as out:
        for row in kept:
            sides = [list(ids[row.prompt_len :]) for ids in row.sequences]
            prompt = {"prompt_ids": list(row.sequences[0][: row.prompt_len]), "weight": row.weight}
            out.write(json.dumps({**prompt, **dict(zip(names, sides, strict=True))}) + "\n")
    return kind, len(kept)


def _sample_script(config: RunConfig, index: int, model: str, marker: Marker) -> str:
    from selfimprove.sampling.options import engine_options, installed_device

    named = {
        name.removeprefix("sampling."): json.loads(value)
        for name, value in marker.inputs.items()
        if name.startswith("sampling.")
    }
    params = {name: named[name] for name in ("temperature", "top_p", "top_k", "max_tokens", "stop")}
    params |= {"stop_token_ids": list(rows.encoder_of(Path(model), config.model.model_dump(), None).end_ids)}
    engine = engine_options(config.sampling.model_dump(), config.model.model_dump(), model, installed_device())
    plain = {name: value for name, value in engine.items() if name not in ("worker_extension_cls", "use_tqdm_on_load")}
    return _SAMPLE.format(round=index, model=model, engine=_pretty(plain), params=_pretty({**params, **named["extra"]}))


def _pretty(value: Mapping[str, Any]) -> str:
    """A dictionary as Python, a key a line."""
    lines = "".join(f"    {name!r}: {inner!r},\n" for name, inner in value.items())
    return f"{{\n{lines}}}" if lines else "{}"
