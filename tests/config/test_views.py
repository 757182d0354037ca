"""A configuration as YAML, as an identity, as a difference and as a schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfimprove.config import (
    diff,
    dump_yaml,
    flatten,
    keys_of,
    load_config,
    python_recipe_options,
    schema,
    semantic,
)
from selfimprove.config.models import RunConfig
from selfimprove.errors import ConfigError

OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "rounds": st.integers(1, 99),
        "sampling.temperature": st.floats(0, 2),
        "sampling.stop": st.lists(st.text(), max_size=3),
        "verifier.threshold": st.none() | st.floats(-1, 1),
        "recipe.samples": st.integers(1, 9),
        "recipe.tags": st.lists(st.text(), max_size=2),
        "training.args.learning_rate": st.floats(0, 1),
        "training.lora": st.none() | st.just({"r": 4}),
        "ask": st.sampled_from(["all", "fresh"]),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(values=OVERRIDES)
def test_the_resolved_configuration_is_the_configuration(project: Path, values: dict[str, Any]) -> None:
    config = load_config(["good.yaml"], [f"{key}={json.dumps(value)}" for key, value in values.items()])
    Path("resolved.yaml").write_text(dump_yaml(config), encoding="utf-8")
    again = load_config(["resolved.yaml"])
    assert again == config
    assert diff(config, again) == []
    for key, value in values.items():
        if not isinstance(value, dict):
            assert flatten(config)[key] == value


def test_options_of_a_recipe_are_completed_and_made_into_its_dataclass(project: Path) -> None:
    config = load_config(["good.yaml"], ["recipe.tags=[x]", "warmup=recipe.py:keep"])
    assert config.recipe.options == {"samples": 8, "temperature": None, "start": "base", "tags": ["x"], "args": {}}
    options = python_recipe_options(config)
    assert type(options).__name__ == "KeepConfig"
    assert (options.samples, options.tags) == (8, ("x",))
    assert python_recipe_options(config, "warmup").samples == 4
    with pytest.raises(ConfigError, match="no warmup"):
        python_recipe_options(load_config(["good.yaml"]), "warmup")


def test_identity_leaves_out_how_the_work_is_done(project: Path) -> None:
    config = load_config(["good.yaml"])
    words = [
        "verifier.workers=3",
        "sampling.threads=2",
        "sampling.engines=2",
        "sampling.tensor_parallel=2",
        "sampling.max_restarts=9",
        "training.threads=2",
        "training.process=keep",
        "cluster.backend=inline",
        "rounds=9",
        "stop.patience=2",
    ]
    assert semantic(load_config(["good.yaml"], words)) == semantic(config)
    for word in ("seed=1", "sampling.temperature=0.5", "recipe.samples=2", "data.gate=3", "training.lora.r=3"):
        assert semantic(load_config(["good.yaml"], [word])) != semantic(config), word


def test_identity_survives_a_move_of_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("template.jinja").write_text("one")
    words = ["model.chat_template=template.jinja"]
    before = semantic(load_config(["good.yaml"], words))
    moved = project / "elsewhere"
    moved.mkdir()
    for file in [file for file in project.iterdir() if file.is_file()]:
        file.rename(moved / file.name)
    monkeypatch.chdir(moved)
    assert semantic(load_config(["good.yaml"], words)) == before
    Path("template.jinja").write_text("two")
    assert semantic(load_config(["good.yaml"], words)) != before


def test_identity_is_json(project: Path) -> None:
    found = semantic(load_config(["good.yaml"], ["sampling.stop=[a]", "training.lora={r: 8}"]))
    assert json.loads(json.dumps(found)) == found
    assert found["sampling.stop"] == ["a"]
    assert found["training.lora.r"] == 8


def test_differences(project: Path) -> None:
    old = load_config(["good.yaml"])
    new = load_config(["good.yaml"], ["sampling.temperature=0.7", "rounds=5", "training.lora={r: 8}"])
    expected = ["rounds: 3 -> 5", "sampling.temperature: 1.0 -> 0.7"]
    lora = ["training.lora: null -> (not set)", "training.lora.r: (not set) -> 8"]
    assert diff(old, new) == [*expected, *lora]
    assert diff(semantic(old), semantic(new)) == [*expected[1:], *lora]


def test_the_schema_accepts_what_the_loader_accepts(project: Path) -> None:
    found = schema()
    jsonschema.Draft202012Validator.check_schema(found)
    validator = jsonschema.Draft202012Validator(found)
    validator.validate(load_config(["good.yaml"]).model_dump(mode="json"))
    validator.validate({"extends": ["quickstart"], "model": "a/b", "recipe": {"name": "x", "own": 1}})
    for wrong in ({"round": 1}, {"rounds": "3"}, {"sampling": {"top_p": 2}}, {"ask": "some"}):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(wrong)


def test_every_key_is_described() -> None:
    assert [key for key, description in keys_of(RunConfig).items() if not description] == []


def test_a_server_is_its_whole_address() -> None:
    """Another host, or another model there, is another judge; a file that was moved is the same one."""
    judges = ("http://a:8000/v1#lab/judge", "http://b:8000/v1#lab/judge", "http://a:8000/v1#lab/other")
    told = [
        semantic(load_config(["quickstart"], [f"verifier={{name: self_critique, policy: '{judge}'}}"]))
        for judge in judges
    ]
    assert len({one["verifier.policy"] for one in told}) == 3
