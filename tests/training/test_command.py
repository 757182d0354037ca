"""Any other trainer, as a command. Run: pytest tests/training/test_command.py"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from selfimprove.config import load_config
from selfimprove.errors import ConfigError, PreconditionError, Starved
from selfimprove.store.tables import write_examples
from selfimprove.training.command import CommandTrainer
from selfimprove.types import Demonstration, Message, Policy, TrainRequest
from tests.training.conftest import demonstration, pairs

THEIRS = """
import json, shutil, sys
import pyarrow.parquet as pq
told = json.loads(open(sys.argv[-1]).read())
rows = pq.read_table(told["rows"]).to_pylist()
if told["args"].get("mode") == "fail":
    print("out of luck"); sys.exit(4)
if told["args"].get("mode") != "nothing":
    shutil.copytree(told["start"], told["output"])
    json.dump({"steps": 3, "loss": 0.5, "rows": len(rows)}, open(told["output"] + "/metrics.json", "w"))
json.dump([told, rows], open(sys.argv[-1] + ".seen", "w"))
"""


def asked(folder: Path, tiny: str, rows: Any, **args: Any) -> TrainRequest:
    write_examples(folder / "rows.parquet", rows, type(rows[0]))
    (folder / "theirs.py").write_text(THEIRS)
    (folder / "out").mkdir()
    objective = "dpo" if hasattr(rows[0], "chosen") else "sft"
    start = Policy(tiny, "tiny")
    return TrainRequest(objective, str(folder / "rows.parquet"), start, str(folder / "out"), start, args=args, seed=7)


def trainer(folder: Path) -> CommandTrainer:
    return CommandTrainer({"command": [sys.executable, str(folder / "theirs.py")]}, {})


def test_rows_go_over_as_ids_and_the_model_comes_back(tiny: str, tmp_path: Path) -> None:
    text = Demonstration((Message("text", "2+2="),), "4")
    request = asked(tmp_path, tiny, [demonstration((20, 21, 2), 2.0), text], optimizer="theirs")
    result = trainer(tmp_path).train(request)
    assert (result.steps, result.rows, result.metrics["loss"]) == (3, 2, 0.5)
    assert Path(result.source, "config.json").is_file() and result.adapter is None
    told, rows = json.loads((tmp_path / "out/request.json.seen").read_text())
    assert (told["objective"], told["start"], told["args"], told["seed"]) == ("sft", tiny, {"optimizer": "theirs"}, 7)
    assert rows[0] == {"prompt_ids": [1, 5, 6], "completion_ids": [20, 21, 2], "weight": 2.0}
    assert rows[1]["prompt_ids"][0] == 1 and rows[1]["completion_ids"][-1] == 2, "a text gets start and end"


def test_pairs_go_over_as_pairs(tiny: str, tmp_path: Path) -> None:
    trainer(tmp_path).train(asked(tmp_path, tiny, pairs(3)))
    told, rows = json.loads((tmp_path / "out/request.json.seen").read_text())
    assert told["objective"] == "dpo" and told["reference"] == tiny
    assert set(rows[0]) == {"prompt_ids", "chosen_ids", "rejected_ids", "weight"}


def test_what_goes_wrong_is_said(tiny: str, tmp_path: Path) -> None:
    rows = [demonstration()]
    for name, mode, kind, said in (
        ("a", "fail", ConfigError, "ended with exit code 4: out of luck"),
        ("b", "nothing", PreconditionError, "wrote no model"),
    ):
        (tmp_path / name).mkdir()
        with pytest.raises(kind, match=said):
            trainer(tmp_path / name).train(asked(tmp_path / name, tiny, rows, mode=mode))
    (tmp_path / "c").mkdir()
    with pytest.raises(Starved):
        trainer(tmp_path / "c").train(asked(tmp_path / "c", tiny, [demonstration((2,))]))
    (tmp_path / "d").mkdir()
    with pytest.raises(PreconditionError, match="'no-such-program' cannot be started"):
        CommandTrainer({"command": ["no-such-program"]}, {}).train(asked(tmp_path / "d", tiny, rows))


def test_its_options_are_its_own_affair(tmp_path: Path) -> None:
    whole = {
        "model": {"build": "selfimprove.testing:tiny_llama"},
        "data": {"problems": {"source": "arithmetic", "args": {"n": 20}}, "gate": 0, "report": 0},
        "recipe": "rest_em",
        "verifier": "none",
        "training": {"type": "command", "command": ["train"], "args": {"whatever": 1}},
    }
    (tmp_path / "c.yaml").write_text(json.dumps(whole))
    assert load_config([str(tmp_path / "c.yaml")]).training.args == {"whatever": 1}
    with pytest.raises(ConfigError, match="whatever"):
        load_config(
            [str(tmp_path / "c.yaml"), "training.type=trl", "training.command=null"][:1],
            ["training.type=trl", "training.command=null"],
        )
