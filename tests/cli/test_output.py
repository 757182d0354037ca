"""The envelope, the exit codes, and what may reach a terminal."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfimprove.cli import main, output
from selfimprove.cli.command import Command
from selfimprove.cli.output import Result, clean, emit, envelope, failure, plain
from selfimprove.errors import ConfigError, FingerprintError, LeaseHeld, Starved, Stopped

KEYS = ["schema", "command", "ok", "exit_code", "data", "warnings", "error"]


def run_json(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    code = main([*words, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert list(found) == KEYS
    assert found["schema"] == "selfimprove.cli/1"
    assert found["exit_code"] == code
    assert found["ok"] is (code == 0)
    assert (found["error"] is None) is (code == 0)
    return found


def test_success(capsys: pytest.CaptureFixture[str]) -> None:
    found = run_json(["config", "validate", "quickstart"], capsys)
    assert found["command"] == "config validate"
    assert found["data"]["valid"] is True


def test_a_wrong_configuration_lists_every_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("extends: quickstart\nrounds: x\nseed: y\n")
    found = run_json(["plan", "c.yaml", "ask=z"], capsys)
    assert found["exit_code"] == 2
    assert found["error"]["code"] == "config.invalid"
    assert found["error"]["location"] == {"file": "c.yaml", "line": 2, "column": 1}
    assert [(problem["key"], problem["location"]) for problem in found["data"]["problems"]] == [
        ("rounds", {"file": "c.yaml", "line": 2, "column": 1}),
        ("seed", {"file": "c.yaml", "line": 3, "column": 1}),
        ("ask", {"text": "ask=z"}),
    ]


@pytest.mark.parametrize(
    ("words", "command"),
    [(["rnu"], "rnu"), (["run"], "run"), (["config", "shwo"], "config shwo"), (["run", "--x"], "run")],
)
def test_wrong_usage(words: list[str], command: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = run_json(words, capsys)
    assert (found["exit_code"], found["error"]["code"], found["command"]) == (2, "usage", command)
    assert found["error"]["hint"].endswith("--help")


@pytest.mark.parametrize(
    ("error", "code", "name"),
    [
        (ConfigError("no", hint="do"), 2, "config"),
        (FingerprintError("changed"), 2, "config.changed"),
        (Starved("nothing"), 9, "starved"),
        (Stopped("safe"), 75, "stopped"),
        (LeaseHeld("other"), 76, "lease_held"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
    ],
)
def test_expected_errors_have_their_code(error: BaseException, code: int, name: str) -> None:
    result = failure(error)
    assert result.error is not None
    assert (result.exit_code, result.error["code"]) == (code, name)
    assert "traceback" not in result.data


def test_a_bug_is_one_line_and_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise KeyError("some key\nsecond line")
    except KeyError as error:
        result = failure(error)
    assert emit(result, "run", as_json=False) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: internal error: KeyError: ")
    assert len(err.splitlines()) == 1
    written = Path(str(result.data["traceback"]))
    assert "Traceback (most recent call last)" in written.read_text()
    written.unlink()


def test_an_end_that_is_no_error_still_says_which_it_was() -> None:
    found = envelope(Result({"best": None}, "no round was better", 3), "run")
    assert (found["ok"], found["error"]["code"], found["error"]["message"]) == (
        False,
        "not_better",
        "no round was better",
    )


def test_results_go_to_stdout_and_the_rest_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    emit(Result({}, "table\n", 0, ("careful",)), "plan", as_json=False)
    assert capsys.readouterr() == ("table\n", "warning: careful\n")
    emit(failure(ConfigError("wrong", hint="right")), "plan", as_json=False)
    assert capsys.readouterr() == ("", "error: wrong\nhint: right\n")


def test_what_libraries_print_is_kept_off_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    @click.command("noisy", cls=Command)
    def noisy() -> Result:
        print("from python")
        os.write(1, b"from below\n")
        os.system("echo from a child")
        return Result({"x": 1}, "result")

    result = noisy.main([], standalone_mode=False)
    assert emit(result, "noisy", as_json=False) == 0
    out, err = capfd.readouterr()
    assert out == "result\n"
    assert sorted(err.splitlines()) == ["from a child", "from below", "from python"]


def test_control_characters_become_visible() -> None:
    assert clean("a\tb\nc") == "a\tb\nc"
    assert clean("\x1b[2Jgone\r\x07\x9b\x7f") == "\\x1b[2Jgone\\r\\x07\\x9b\\x7f"
    assert clean("safe\u202eetad\u2066\ud800") == "safe\\u202eetad\\u2066\\ud800"
    assert clean("naïve 日本 😀") == "naïve 日本 😀"


@given(st.text())
def test_nothing_that_moves_the_cursor_survives(text: str) -> None:
    shown = clean(text)
    assert not any((ord(c) < 32 and c not in "\t\n") or 127 <= ord(c) < 160 for c in shown)
    assert clean(shown) == shown


def test_model_text_is_cleaned_on_its_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    emit(Result({"t": "\x1b[31m"}, "said: \x1b[31m"), "show", as_json=False)
    assert capsys.readouterr().out == "said: \\x1b[31m\n"
    emit(Result({"t": "\x1b[31m"}, ""), "show", as_json=True)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert json.loads(out)["data"]["t"] == "\x1b[31m"


@dataclass
class Thing:
    path: Path
    value: float


def test_plain_is_strict_json() -> None:
    found = plain({"a": math.nan, "b": (1, {2}), 3: Thing(Path("x"), math.inf), "c": object})
    assert found == {"a": None, "b": [1, [2]], "3": {"path": "x", "value": None}, "c": str(object)}
    json.dumps(found, allow_nan=False)


def test_colours_only_for_a_terminal_that_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert output._painted("error:", "31") == "error:"
    monkeypatch.delenv("NO_COLOR")
    assert output._painted("error:", "31") == "\x1b[1;31merror:\x1b[0m"
    monkeypatch.setenv("TERM", "dumb")
    assert output._painted("error:", "31") == "error:"
