"""Commands delegate: where runs go, what config and recipes print, what init writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from selfimprove.cli import main
from selfimprove.cli.command import run_dir_of
from selfimprove.config import load_config, strict_yaml
from selfimprove.plugins import names, recipe_config_class, resolve


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_where_a_run_lives(here: Path) -> None:
    Path("run").mkdir()
    Path("run/config.resolved.yaml").write_text("")
    assert run_dir_of(["conf/my.yaml", "other.yaml", "rounds=1"], None) == Path("runs/my")
    assert run_dir_of(["rounds=1", "quickstart"], None) == Path("runs/quickstart")
    assert run_dir_of(["my.yaml"], None, "name") == Path("runs/name")
    assert run_dir_of(["my.yaml"], Path("there")) == Path("there")
    assert run_dir_of(["run"], None) == Path("run")
    assert run_dir_of(["run/config.resolved.yaml"], None) == Path("run")


def test_config_show_prints_what_can_be_loaded_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "quickstart", "rounds=7"]) == 0
    Path("again.yaml").write_text(capsys.readouterr().out)
    assert load_config(["again.yaml"]) == load_config(["quickstart"], ["rounds=7"])


def test_config_show_explains_origins(capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.yaml").write_text("extends: quickstart\nseed: 3\n")
    assert main(["config", "show", "c.yaml", "rounds=7", "--explain"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["seed", "=", "3", "c.yaml:2"] in lines
    assert ["rounds", "=", "7", "override"] in lines
    assert ["sampling.top_p", "=", "1.0", "default"] in lines


def test_config_schema_to_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema", "-o", "s.json"]) == 0
    assert capsys.readouterr().out == "wrote s.json\n"
    jsonschema.Draft202012Validator.check_schema(json.loads(Path("s.json").read_text()))


def test_faults_are_printed_as_editors_read_them(capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.yaml").write_text("extends: quickstart\nrounds: x\n")
    assert main(["config", "validate", "c.yaml"]) == 2
    assert capsys.readouterr() == ("", "c.yaml:2:1: rounds: expected a whole number, got 'x'\n")


@pytest.mark.parametrize("kind", ["recipe", "verifier"])
def test_lists(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"{kind}s", "ls"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [name for name, _, _ in names(kind)]


def test_a_copied_recipe_works_outside_and_is_never_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    name = names("recipe")[0][0]
    assert main(["recipes", "cp", name]) == 0
    assert capsys.readouterr().out == f"wrote {name}.py; use it with\n  recipe: {{name: {name}.py:{name}}}\n"
    assert recipe_config_class(resolve("recipe", f"{name}.py:{name}"))
    assert load_config(["quickstart"], [f"recipe={name}.py:{name}"]).recipe.name.endswith(f"{name}.py:{name}")
    Path(f"{name}.py").write_text("mine")
    assert main(["recipes", "cp", name]) == 2
    assert f"will not overwrite {name}.py" in capsys.readouterr().err
    assert Path(f"{name}.py").read_text() == "mine"
    Path("sub").mkdir()
    assert main(["recipes", "cp", name, "sub"]) == 0
    assert main(["recipes", "cp", name, "new/mine.py"]) == 0
    assert Path("sub", f"{name}.py").read_bytes() == Path("new/mine.py").read_bytes()


def test_recipes_show_prints_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    name = names("recipe")[0][0]
    assert main(["recipes", "show", name]) == 0
    assert f"def {name}(" in capsys.readouterr().out
    assert main(["recipes", "show", name + "x"]) == 2
    assert f"did you mean '{name}'?" in capsys.readouterr().err


def test_init_writes_a_project_that_is_valid_and_tested(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "project"]) == 0
    assert "next: cd project && selfimprove run config.yaml" in capsys.readouterr().out
    project = here / "project"
    config = load_config([project / "config.yaml"])
    assert config.verifier.name == f"{project}/verifier.py:correct"
    assert config.model.build is not None
    assert len((project / "problems.jsonl").read_text().splitlines()) >= 20
    first, *_ = (project / "config.yaml").read_text().splitlines()
    assert first == "# yaml-language-server: $schema=schema.json"
    written = strict_yaml.read(project / "config.yaml", "config.yaml").value
    jsonschema.validate(written, json.loads((project / "schema.json").read_text()))
    done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert main(["plan", "project/config.yaml"]) == 0


def test_init_for_a_model_and_a_recipe_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    name = names("recipe")[-1][0]
    assert main(["init", "--model", "org/name", "--recipe", name]) == 0
    config = load_config(["config.yaml"])
    assert (config.model.source, config.recipe.name, config.warmup) == ("org/name", name, None)
    assert main(["init", "other", "--recipe", name + "x"]) == 2
    assert f"did you mean '{name}'?" in capsys.readouterr().err
    assert not Path("other").exists()


def test_init_overwrites_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("verifier.py").write_text("mine")
    assert main(["init"]) == 2
    assert "will not overwrite verifier.py" in capsys.readouterr().err
    assert [file.name for file in Path().iterdir()] == ["verifier.py"]


def test_doctor_reports_each_check_once(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    listed = [check["name"] for check in found["data"]["checks"]]
    assert len(set(listed)) == len(listed)
    assert {"python", "vllm", "memory", "disk", "durable writes"} <= set(listed)
    assert code == (5 if found["data"]["failed"] else 0)
