"""Which layer wins, where a value came from, and what a later layer replaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.config import RunConfig, dump_yaml, find, is_override, load_config, load_with_origins
from selfimprove.config.tree import Layer, Origin, merge

HERE = Origin("file", "f.yaml", Path("/"), 1, 1)


def test_order_of_layers_and_their_origins(project: Path) -> None:
    Path("base.yaml").write_text("seed: 1\nrounds: 1\nsampling:\n  top_k: 1\n  max_tokens: 1\n  top_p: 0.1\n")
    Path("top.yaml").write_text("extends: [good.yaml, base.yaml]\nrounds: 2\nsampling: {top_k: 2, max_tokens: 2}\n")
    Path("more.yaml").write_text("sampling: {top_k: 3}\n")
    environ = {"SELFIMPROVE__SAMPLING__MAX_TOKENS": "4", "SELFIMPROVE__ASK": "fresh", "OTHER": "x"}
    config, origins = load_with_origins(["top.yaml", "more.yaml"], ["sampling.top_p=0.5", "ask=all"], environ)
    sampling = config.sampling
    assert (config.seed, config.rounds, sampling.top_k, sampling.max_tokens, sampling.top_p) == (1, 2, 3, 4, 0.5)
    assert config.ask == "all"
    assert {key: origins[key] for key in origins if origins[key] != "default"} == {
        "model.source": "good.yaml:1",
        "data.problems.source": "good.yaml:2",
        "data.gate": "good.yaml:2",
        "recipe.name": "good.yaml:3",
        "recipe.samples": "good.yaml:3",
        "verifier.name": "good.yaml:4",
        "seed": "base.yaml:1",
        "rounds": "top.yaml:2",
        "sampling.top_k": "more.yaml:1",
        "sampling.max_tokens": "env",
        "sampling.top_p": "override",
        "ask": "override",
    }


def test_every_key_has_an_origin(project: Path) -> None:
    _, origins = load_with_origins(["good.yaml"], [], {})
    assert origins["sampling.temperature"] == "default"
    assert origins["recipe.temperature"] == "default"
    assert origins.keys() >= {"training.args", "sampling.stop", "data.columns.prompt"}


def test_lists_replace_and_appending_appends(project: Path) -> None:
    Path("a.yaml").write_text("extends: good.yaml\nsampling: {stop: [a, b]}\n")
    assert load_config(["a.yaml"], ["sampling.stop=[c]"]).sampling.stop == ("c",)
    assert load_config(["a.yaml"], ["sampling.stop+=[c]"]).sampling.stop == ("a", "b", "c")
    assert load_config(["a.yaml"], ["sampling.stop=[]", "sampling.stop+=[c]"]).sampling.stop == ("c",)
    assert load_config(["good.yaml"], ["sampling.stop+=[c]"]).sampling.stop == ("c",)


def test_override_values_are_yaml(project: Path) -> None:
    words = ["training.args.learning_rate=1e-5", "training.lora={r: 8}", "stop.patience=null", "sampling.stop=['a=b']"]
    config = load_config(["good.yaml"], words)
    assert config.training.args == {"learning_rate": 1e-5}
    assert config.training.lora == {"r": 8}
    assert config.sampling.stop == ("a=b",)


def test_an_option_of_something_written_short(project: Path) -> None:
    Path("short.yaml").write_text("extends: good.yaml\nrecipe: recipe.py:keep\n")
    assert load_config(["short.yaml"], ["recipe.samples=3"]).recipe.options["samples"] == 3
    assert load_config(["good.yaml"], ["verifier.args.digits=3"]).verifier.args == {"digits": 3}
    config = load_config(["good.yaml"], ["model.dtype=float32"])
    assert (config.model.source, config.model.dtype) == ("org/name", "float32")


def test_naming_another_one_drops_the_options_of_the_first(project: Path) -> None:
    Path("base.yaml").write_text("extends: good.yaml\nverifier: {name: verifier.py:correct, args: {digits: 1}}\n")
    other = load_config(["base.yaml"], ["verifier.args.free=1", "verifier.name=verifier.py:anything"])
    assert other.verifier.args == {"free": 1}
    same = load_config(["base.yaml"], ["verifier.name=verifier.py:correct", "verifier.retries=3"])
    assert (same.verifier.args, same.verifier.retries) == ({"digits": 1}, 3)
    recipe = load_config(["good.yaml"], ["recipe={name: recipe.py:needy, teacher: t}"]).recipe
    assert recipe.options == {"teacher": "t", "weights": {}}
    built = load_config(["good.yaml"], ["model.build=generator.py:count"]).model
    assert (built.source, built.build) == (None, str(project / "generator.py:count"))


def test_paths_are_meant_from_the_file_that_names_them(project: Path) -> None:
    Path("sub").mkdir()
    for name in ("problems.jsonl", "recipe.py", "verifier.py"):
        Path(name).rename(Path("sub", name))
    Path("good.yaml").rename("sub/good.yaml")
    Path("top.yaml").write_text("extends: sub/good.yaml\nsampling: {type: scripted, script: generator.py:count}\n")
    Path("template.jinja").write_text("{{ messages }}")
    Path("tiny").mkdir()
    config = load_config(["top.yaml"], ["model.chat_template=template.jinja", "model.source=tiny"])
    assert config.data.problems.source == str(project / "sub/problems.jsonl")
    assert config.recipe.name == f"{project}/sub/recipe.py:keep"
    assert config.verifier.name == f"{project}/sub/verifier.py:correct"
    assert config.sampling.script == f"{project}/generator.py:count"
    assert config.model.chat_template == str(project / "template.jinja")
    assert config.model.source == str(project / "tiny")


def test_a_run_directory_stands_for_its_resolved_configuration(project: Path) -> None:
    config = load_config(["good.yaml"], ["rounds=7"])
    Path("run").mkdir()
    Path("run/config.resolved.yaml").write_text(dump_yaml(config))
    assert load_config(["run"]) == config
    assert load_config(["run"], ["rounds=8"]).rounds == 8


def test_a_file_wins_over_a_preset_of_the_same_name(project: Path) -> None:
    preset = find("quickstart")
    assert preset is not None
    assert preset.parent.name == "presets"
    Path("quickstart").write_text("rounds: 1\n")
    assert find("quickstart") == project / "quickstart"


def test_every_preset_is_valid_and_survives_being_resolved(project: Path) -> None:
    from selfimprove.plugins import presets

    assert "quickstart" in presets()
    for name in presets():
        config = load_config([name])
        Path("resolved.yaml").write_text(dump_yaml(config))
        assert load_config(["resolved.yaml"]) == config


@pytest.mark.parametrize(
    ("word", "expected"),
    [("a.b=1", True), ("a+=[1]", True), ("a.yaml", False), ("dir/a=b.yaml", False), ("=1", False), ("a.b=c=d", True)],
)
def test_telling_overrides_from_files(word: str, expected: bool) -> None:
    assert is_override(word) is expected


def test_an_existing_file_is_never_an_override(project: Path) -> None:
    Path("a=b").write_text("rounds: 1\n")
    assert not is_override("a=b")


def test_configurations_are_frozen(project: Path) -> None:
    config = load_config(["good.yaml"])
    assert isinstance(config, RunConfig)
    with pytest.raises(ValueError, match="frozen"):
        config.rounds = 3  # type: ignore[misc]


TREES = st.recursive(
    st.integers() | st.none() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=10,
)
MAPPINGS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)


def layer(value: dict[str, Any]) -> Layer:
    return Layer(HERE, value)


def deep(base: Any, over: Any) -> Any:
    """The rule, said plainly."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {key: deep(base.get(key), over[key]) if key in over else base[key] for key in {**base, **over}}


@given(MAPPINGS, MAPPINGS)
def test_merging_follows_the_rule_and_changes_neither(base: dict[str, Any], over: dict[str, Any]) -> None:
    before = repr((base, over))
    assert merge(layer(base), layer(over)).value == deep(base, over)
    assert repr((base, over)) == before


@given(MAPPINGS, MAPPINGS, MAPPINGS)
def test_the_last_layer_has_the_last_word(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> None:
    once = merge(merge(layer(a), layer(b)), layer(c))
    assert merge(once, layer(c)).value == once.value
