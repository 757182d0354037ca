"""What doctor finds, on machines and in options that are not as they should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfimprove.config import load_config
from selfimprove.errors import ConfigError
from selfimprove.report import doctor


def test_a_check_says_what_how_and_the_way_out(tmp_path: Path) -> None:
    checks = doctor.check_machine(tmp_path)
    for check in checks:
        assert set(check) == {"name", "ok", "detail", "fix"}
        assert check["detail"]
        assert check["ok"] or check["fix"]


def test_a_place_that_cannot_link_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    assert doctor._durable(tmp_path)["ok"]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("os.link", refuse)
    found = doctor._durable(tmp_path)
    assert not found["ok"]
    assert "Operation not supported" in found["detail"]
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_does_not_exist_yet_is_probed_above(tmp_path: Path) -> None:
    assert doctor._durable(tmp_path / "a" / "b")["ok"]
    assert doctor._disk(tmp_path / "a" / "b")["name"] == "disk"
    assert list(tmp_path.iterdir()) == []


def test_render_names_the_fix_of_what_failed() -> None:
    text = doctor.render_doctor(
        [
            {"name": "disk", "ok": False, "detail": "0.1 GiB free", "fix": "free space"},
            {"name": "python", "ok": True, "detail": "3.11", "fix": "unused"},
        ]
    )
    assert text.splitlines() == [
        "FAIL  disk    0.1 GiB free",
        "              -> free space",
        "ok    python  3.11",
        "",
        "1 of 2 checks failed",
    ]


def test_companions_of_a_cpu_torch_are_hidden_others_must_match(monkeypatch: pytest.MonkeyPatch) -> None:
    def versions(**known: str) -> None:
        monkeypatch.setattr(doctor, "_version", lambda name: known.get(name))

    versions(torch="2.13.0+cpu", torchvision="0.28.0")
    assert [check["ok"] for check in doctor._companions()] == [True]
    versions(torch="2.13.0+cu130", torchvision="0.28.0+cu126")
    assert [check["ok"] for check in doctor._companions()] == [False]
    versions(torch="2.13.0", torchvision="0.28.0", torchaudio="2.13.0")
    assert [check["ok"] for check in doctor._companions()] == [True, True]
    versions(torch="2.13.0")
    assert doctor._companions() == []


@pytest.mark.slow
def test_options_are_tried_on_the_real_classes() -> None:
    good = load_config(["quickstart"], ["training.lora={r: 4}", "sampling.params.min_p=0.1"])
    assert [check for check in doctor.check_options(good) if not check["ok"]] == []
    bad = load_config(
        ["quickstart"],
        [
            "training.args.learning_rate=hot",
            "training.lora={r: many}",
            "sampling.params.min_p=3",
            "sampling.engine.max_num_seqs=many",
        ],
    )
    refused = {check["name"]: check["detail"] for check in doctor.check_options(bad) if not check["ok"]}
    assert {"training.args", "training.lora", "sampling.params", "sampling.engine"} <= set(refused)
    assert "learning_rate" in refused["training.args"]
    with pytest.raises(ConfigError, match=r"sampling\.engine: ValueError: max_num_seqs"):
        doctor.require_options(bad)


@pytest.mark.parametrize(
    ("driver", "torch", "ok", "said"),
    [
        ("570.133.20", "12.8", True, "CUDA up to 12.8"),
        ("535.183.01", "12.8", True, "CUDA up to 12.2"),  # within a major release any minor one runs
        ("550.54.15", "13.0", False, "CUDA up to 12.4"),
        ("590.12", "12.6", True, "CUDA up to 13.0"),
        ("580.65.06", None, False, "torch for CPUs"),
        ("390.1", "12.8", False, "CUDA up to 11"),
    ],
)
def test_the_drivers_cuda_and_torchs(driver: str, torch: str | None, ok: bool, said: str) -> None:
    found = doctor.cuda_check("1 NVIDIA device", driver, torch)
    assert found["ok"] is ok and said in found["detail"]
    assert "GPU=1" in found["fix"]


def test_what_torch_was_built_for_is_read_from_its_files() -> None:
    import torch

    assert doctor._torch_cuda() == torch.version.cuda


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024", "550.54.15"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build", "580.65.06"),
        ("", None),
    ],
)
def test_which_driver_there_is(text: str, found: str | None) -> None:
    assert doctor.driver_version(text) == found
