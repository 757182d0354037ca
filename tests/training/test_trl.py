from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selfimprove.errors import ConfigError, PreconditionError
from selfimprove.training.trl import TRLTrainer, trainer_environment
from selfimprove.types import Policy, TrainRequest
from tests.training.conftest import Train, demonstrations, pairs, same_weights

LORA = {"r": 2, "target_modules": ["q_proj"]}


def files_of(directory: str | None) -> dict[str, bytes]:
    assert directory is not None
    return {path.name: path.read_bytes() for path in sorted(Path(directory).iterdir())}


@pytest.mark.parametrize("lora", [None, {**LORA, "lora_dropout": 0.1}])
def test_the_same_request_gives_the_same_bytes(train: Train, lora: Any) -> None:
    one, two = (train(demonstrations(), seed=3, dtype="auto", lora=lora) for _ in range(2))
    assert files_of(one.adapter or one.source) == files_of(two.adapter or two.source)
    assert (Path(one.source if not lora else one.adapter or "").parent / "canary.json").read_bytes() == (
        Path(two.source if not lora else two.adapter or "").parent / "canary.json"
    ).read_bytes()


def test_another_seed_gives_another_order(train: Train) -> None:
    assert not same_weights(train(demonstrations(16), seed=1), train(demonstrations(16), seed=2))


def test_a_training_does_not_depend_on_those_before_it(train: Train, tiny: str) -> None:
    before = train(demonstrations(), seed=3)
    train(pairs(), dtype="bfloat16", lora=LORA, reference=Policy(tiny, "tiny"), seed=9)
    train(demonstrations(), dtype="bfloat16", args={"gradient_checkpointing": True}, seed=8)
    assert same_weights(before, train(demonstrations(), seed=3))


def test_a_finished_training_leaves_no_model_behind(train: Train, tiny: str) -> None:
    from transformers import PreTrainedModel

    train(demonstrations(), lora=LORA)
    train(pairs(), reference=Policy(tiny, "tiny"))
    gc.collect()
    assert not [thing for thing in gc.get_objects() if isinstance(thing, PreTrainedModel)]


def test_an_unknown_objective_is_refused(trainer: TRLTrainer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="objective 'ppo' is not one of sft, dpo"):
        trainer.train(TrainRequest("ppo", "none", Policy("none", ""), str(tmp_path)))


def test_a_model_is_built_by_spec(trainer: TRLTrainer, tmp_path: Path, train: Train) -> None:
    args = {"hidden_size": 16, "layers": 1, "heads": 2}
    built = trainer.build("selfimprove.testing:tiny_llama", args, str(tmp_path / "built"))
    assert train(demonstrations(), Policy(built, "built")).rows == 8


def test_a_builder_that_fails_is_explained(trainer: TRLTrainer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not take args"):
        trainer.build("selfimprove.testing:tiny_llama", {"no_such": 1}, str(tmp_path / "a"))
    with pytest.raises(ConfigError, match=r"selfimprove\.testing:nothing"):
        trainer.build("selfimprove.testing:nothing", {}, str(tmp_path / "b"))
    (tmp_path / "builder.py").write_text("def nothing(output):\n    pass\n")
    with pytest.raises(PreconditionError, match=r"no config\.json"):
        trainer.build(f"{tmp_path}/builder.py:nothing", {}, str(tmp_path / "c"))


def test_the_environment_names_threads_and_keeps_quiet() -> None:
    environment = trainer_environment({"threads": 3})
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert int(trainer_environment({"threads": None})["OMP_NUM_THREADS"]) >= 1


def test_importing_the_trainer_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'trl', 'peft', 'datasets', 'accelerate'}"
    code = f"import sys, selfimprove.training.trl; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


ALONE = """
import sys
from pathlib import Path
from selfimprove.training.trl import TRLTrainer
from selfimprove.types import Policy, TrainRequest
examples, start, output = sys.argv[1:]
args = {"per_device_train_batch_size": 4, "num_train_epochs": 1, "learning_rate": 1e-3}
request = TrainRequest("sft", examples, Policy(start, "tiny"), output, args=args, dtype="float32", seed=3)
TRLTrainer({"threads": 1}, {}).train(request)
"""


@pytest.mark.slow
def test_a_process_of_its_own_gives_the_same_bytes(train: Train, tiny: str, tmp_path: Path) -> None:
    train(pairs(), dtype="bfloat16", reference=Policy(tiny, "tiny"))
    here = train(demonstrations(), seed=3)
    examples, output = Path(here.source).parents[1] / "examples.parquet", tmp_path / "alone"
    output.mkdir()
    subprocess.run([sys.executable, "-c", ALONE, str(examples), tiny, str(output)], check=True)
    assert files_of(here.source) == files_of(str(output / "model"))
