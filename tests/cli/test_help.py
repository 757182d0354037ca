"""Help, versions, completion and wrong words: what a first-time user meets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfimprove.cli import COMMANDS, main

HEAVY = ("torch", "ray", "vllm", "transformers", "trl", "peft", "datasets", "pyarrow", "numpy")


def imported(words: list[str], cwd: Path) -> set[str]:
    """Modules that a command line left imported."""
    code = (
        "import sys; from selfimprove.cli import main\n"
        f"code = main({words!r})\n"
        "print('MODULES', *[name for name, module in sys.modules.items() if module], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=True)
    return set(done.stderr.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["config", "--help"], ["--version"]])
def test_help_imports_neither_engines_nor_pydantic(words: list[str], tmp_path: Path) -> None:
    found = imported(words, tmp_path)
    assert not found & {*HEAVY, "pydantic", "yaml", "rich", "blake3"}


@pytest.mark.parametrize(
    "words",
    [
        ["config", "validate", "quickstart"],
        ["config", "show", "quickstart", "--explain"],
        ["config", "schema"],
        ["recipes", "ls"],
        ["verifiers", "ls"],
    ],
)
def test_light_commands_import_no_engine(words: list[str], tmp_path: Path) -> None:
    assert not imported(words, tmp_path) & {"torch", "ray", "vllm", "transformers", "trl", "peft", "datasets"}


def test_plan_imports_no_engine(tmp_path: Path) -> None:
    assert not imported(["plan", "quickstart"], tmp_path) & {"torch", "ray", "vllm", "transformers", "trl", "peft"}


def test_help_lists_every_command_with_a_whole_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        assert f"Usage: selfimprove {command}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from selfimprove import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"selfimprove {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnu"], "error: no command 'rnu'. Did you mean 'run'?\nhint: selfimprove --help\n"),
        (["zzz"], "error: no command 'zzz'\nhint: selfimprove --help\n"),
        (["recipes", "lss"], "error: no command 'lss'. Did you mean 'ls'?\nhint: selfimprove recipes --help\n"),
        (["plan"], "error: Missing argument 'CONFIG... [KEY=VALUE]...'.\nhint: selfimprove plan --help\n"),
        (
            ["plan", "rounds=3"],
            "error: no configuration given: name a file, a run or a preset (",
        ),
        (
            ["run", "quickstart", "--run-dri", "x"],
            "error: No such option '--run-dri'. (Did you mean one of: '--run-dir',",
        ),
        (["run", "quickstart", "--name", "a/b"], "error: --name 'a/b' is not a name; for a path use --run-dir\n"),
        (["run", "quickstart", "--name", "a", "--run-dir", "b"], "error: --run-dir and --name both say where"),
        (["run", "quickstart", "--progress", "often"], "expected auto, none or a number of seconds, got 'often'"),
        (["status", "nowhere"], "Directory 'nowhere' does not exist."),
        (["eval", "m", "quickstart", "--split", "test"], "'test' is not one of 'gate', 'report', 'train'."),
    ],
)
def test_wrong_usage(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


def test_nothing_at_all_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Usage: selfimprove" in err


def test_completion_of_commands_options_and_presets(tmp_path: Path) -> None:
    def complete(*words: str) -> str:
        environ = {
            **os.environ,
            "_SELFIMPROVE_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("selfimprove", *words)),
            "COMP_CWORD": str(len(words)),
        }
        code = "import sys; from selfimprove.cli import main; sys.exit(main())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, cwd=tmp_path)
        return done.stdout

    assert complete("st").split() == ["plain,status"]
    assert "plain,show" in complete("config", "s").split()
    assert "plain,--run-dir" in complete("run", "--ru").split()
    assert "plain,quickstart" in complete("run", "quick").split()


def test_completion_script_is_sound_shell(tmp_path: Path) -> None:
    code = "import sys; from selfimprove.cli import main; sys.exit(main())"
    environ = {**os.environ, "_SELFIMPROVE_COMPLETE": "bash_source"}
    script = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ).stdout
    assert "_SELFIMPROVE_COMPLETE=bash_complete" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_a_real_process_prints_one_object_and_the_right_code(tmp_path: Path) -> None:
    code = "import sys; from selfimprove.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "config", "validate", "nowhere.yaml", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "config.invalid"
    assert done.stderr == ""


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    code = "import sys; from selfimprove.cli import main; sys.exit(main())"
    command = f'set -o pipefail; {sys.executable} -c "{code}" config schema | head -1'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")
