"""A run handed to a trainer for online RL: its verifier as the reward, its problems that are neither dead nor solved.

Contract: reads what is committed and writes a directory of plain files: problems with a middling pass rate, the
verifier's name and options, a reward function in the trainer's own form, and for TRL a script that trains. The run is
not changed. ``trl-grpo`` was run; ``verl`` follows verl's documented files and was not.

See it work: ``pytest tests/test_export.py``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfimprove import mixture
from selfimprove.config import RunConfig, load_config
from selfimprove.context import judged_samples, judged_steps, read_step
from selfimprove.errors import ConfigError
from selfimprove.prompts import conversation, template_kwargs
from selfimprove.report.status import read_status
from selfimprove.rewards import PROBLEMS, VERIFIER
from selfimprove.store.files import RunFiles
from selfimprove.store.runs import open_run
from selfimprove.types import Problem

TARGETS = ("trl-grpo", "verl")
_REWARD = '''\
"""The verifier of a selfimprove run as a reward: 1.0 for a pass, 0.0 for a fail, nothing for what cannot be judged."""

from pathlib import Path

from selfimprove.rewards import Rewards

rewards = Rewards.load(Path(__file__).resolve().parent)

'''
_TRL_REWARD = '''
def reward(prompts, completions, problem_id, **columns):
    """As TRL's GRPOTrainer calls it; None is left out of the group's mean."""
    return rewards(problem_id, completions)
'''
_VERL_REWARD = '''
def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    """As verl calls it: the ground truth is the problem's id. verl knows no missing reward: it is an exception."""
    (score,) = rewards([ground_truth], [solution_str])
    if score is None:
        raise RuntimeError(f"problem {ground_truth}: the verifier could not judge")
    return score
'''
_TRAIN = '''\
"""GRPO from where the run ended: python train.py [--option value of TRL's GRPOConfig]..."""

import json
from pathlib import Path

from datasets import Dataset
from reward import reward
from transformers import HfArgumentParser
from trl import GRPOConfig, GRPOTrainer

HERE = Path(__file__).resolve().parent
DEFAULTS = {defaults}

if __name__ == "__main__":
    parser = HfArgumentParser(GRPOConfig)
    parser.set_defaults(**DEFAULTS)
    (args,) = parser.parse_args_into_dataclasses()
    rows = [json.loads(line) for line in (HERE / "problems.jsonl").open()]
    columns = [{{"prompt": row["prompt"], "problem_id": row["problem_id"]}} for row in rows]
    trainer = GRPOTrainer(model={model!r}, reward_funcs=reward, args=args, train_dataset=Dataset.from_list(columns))
    trainer.train()
    trainer.save_model()
'''


def export(run_dir: Path, target: str, output: Path, low: float = 0.1, high: float = 0.9) -> dict[str, Any]:
    """Write ``output``, an empty or new directory. Problems whose pass rate lies in [low, high] go with it.

    Raises ConfigError for a run without such problems or with several verifiers, and for a directory in use.
    """
    files, config = open_run(run_dir), load_config([str(run_dir)], [])
    judges = config.verifier.judges
    if len(judges) > 1:
        raise ConfigError(f"{run_dir}: {len(judges)} verifiers are combined; a reward function is one of them")
    rates = pass_rates(files)
    problems = [p for p in mixture.load(config).problems if low <= rates.get(p.id, -1.0) <= high]
    if not problems:
        raise ConfigError(
            f"{run_dir}: no problem has a pass rate from {low:g} to {high:g}", hint="widen --low and --high"
        )
    if output.exists() and any(output.iterdir()):
        raise ConfigError(f"{output} exists and is not empty")
    output.mkdir(parents=True, exist_ok=True)
    (output / PROBLEMS).write_text("".join(json.dumps(_row(p, rates[p.id])) + "\n" for p in problems))
    (output / VERIFIER).write_text(json.dumps(judges[0].model_dump(), indent=1) + "\n")
    model, adapter = _policy(run_dir, config)
    (_trl if target == "trl-grpo" else _verl)(output, problems, model, config)
    return {"output": str(output), "problems": len(problems), "of": len(rates), "model": model, "adapter": adapter}


def pass_rates(files: RunFiles) -> dict[str, float]:
    """Problem id -> share of its judged samples that passed, over all rounds."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for key in judged_steps(files):
        for sample, verdict in judged_samples(files, key) if not key.endswith("/gate") else ():
            if verdict is not None and verdict.outcome != "error":
                counts[sample.problem_id][0] += verdict.passed and not sample.truncated
                counts[sample.problem_id][1] += 1
    return {identity: right / asked for identity, (right, asked) in counts.items()}


def _row(problem: Problem, rate: float) -> dict[str, Any]:
    """A problem as a row that reads back as the same problem."""
    plain = len(problem.prompt) == 1 and problem.prompt[0].role == "text"
    prompt: Any = problem.text
    tools = None
    if not plain:
        prompt, tools = conversation(problem.prompt)
    meta = {name: value for name, value in problem.meta.items() if name != "demonstration"}
    known = {
        "answer": problem.answer,
        "tests": problem.tests,
        "task": problem.task,
        "completion": problem.demonstration,
    }
    told = template_kwargs(problem.prompt)
    known |= {**({"tools": tools} if tools else {}), **({"chat_template_kwargs": told} if told else {})}
    return {"prompt": prompt, "problem_id": problem.id, "pass_rate": round(rate, 4), **known, **meta}


def _policy(run_dir: Path, config: RunConfig) -> tuple[str, str | None]:
    """The best policy's directory, or the model that the run began with."""
    best = read_status(run_dir)["best"]
    if best is not None:
        return str(Path(best["policy"]).resolve()), best["adapter"]
    if config.model.source:
        return config.model.source, None
    step = read_step(open_run(run_dir.resolve()), "setup/model")
    assert step is not None and step.marker is not None, "what has samples has a model"
    return str(step.files.local(step.key) / step.marker.data["source"]), None


def _trl(output: Path, problems: list[Problem], model: str, config: RunConfig) -> None:
    defaults = {
        "output_dir": "grpo",
        "num_generations": 8,
        "per_device_train_batch_size": 8,
        "max_completion_length": config.sampling.max_tokens,
        "temperature": config.sampling.temperature or 1.0,
        "report_to": "none",
    }
    (output / "reward.py").write_text(_REWARD + _TRL_REWARD)
    (output / "train.py").write_text(_TRAIN.format(defaults=json.dumps(defaults, indent=4), model=model))


def _verl(output: Path, problems: list[Problem], model: str, config: RunConfig) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def row(place: int, problem: Problem) -> Mapping[str, Any]:
        said = conversation(problem.prompt)[0]
        return {
            "data_source": problem.task,
            "prompt": [{**m, "role": "user" if m["role"] == "text" else m["role"]} for m in said],
            "ability": problem.task,
            "reward_model": {"style": "rule", "ground_truth": problem.id},
            "extra_info": {"index": place, "split": "train"},
        }

    table = pa.Table.from_pylist([dict(row(place, problem)) for place, problem in enumerate(problems)])
    pq.write_table(table, output / "train.parquet")
    (output / "reward.py").write_text(_REWARD + _VERL_REWARD)
    (output / "run.sh").write_text(
        "#!/bin/sh\n# verl's GRPO on the exported problems; add what your machine needs.\n"
        "python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo \\\n"
        '  data.train_files="$PWD/train.parquet" data.val_files="$PWD/train.parquet" \\\n'
        f"  actor_rollout_ref.model.path={model} \\\n"
        '  custom_reward_function.path="$PWD/reward.py" custom_reward_function.name=compute_score "$@"\n'
    )


def render(found: Mapping[str, Any]) -> str:
    """The same for people."""
    text = f"{found['output']}: {found['problems']} of {found['of']} problems, from {found['model']}"
    if found["adapter"]:
        text += f"\nthe best policy has an adapter, {found['adapter']}: merge it first, or give it to the trainer"
    return text
