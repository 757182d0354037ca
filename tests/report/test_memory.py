"""The estimate of `plan` against what a training really takes. Run: pytest tests/report/test_memory.py"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from selfimprove.report.memory import Shape, needed, render, shape_of
from selfimprove.testing import tiny_llama

SEVEN = Shape(7_600_000_000, 15_200_000_000, 28, 3584, 57_344)
SAMPLING = {"max_tokens": 1024, "tensor_parallel": 1}


def test_a_model_of_7b() -> None:
    """16 bytes of each parameter in full; an adapter leaves the weights and little else; shards share."""
    full = needed(SEVEN, {"args": {"per_device_train_batch_size": 1}}, SAMPLING, 1)
    assert 110 < full["training_weights"] < 116 and full["training"] > full["training_weights"]
    lora = needed(SEVEN, {"lora": {"r": 16}, "args": {"per_device_train_batch_size": 1}}, SAMPLING, 1)
    assert 14 < lora["training_weights"] < 16
    four = needed(SEVEN, {"lora": {"r": 16}, "quantize": "nf4"}, SAMPLING, 1)
    assert 3 < four["training_weights"] < 5
    shared = needed(SEVEN, {"launch": "fsdp2", "processes": 8}, SAMPLING, 1)
    assert shared == needed(SEVEN, {"launch": "fsdp2"}, SAMPLING, 8)
    assert shared["training_weights"] == pytest.approx(full["training_weights"] / 8)
    assert "113.2 GiB" in render(full) and "14.2 GiB to sample" in render(full)


def test_the_shape_is_read_from_the_files(tmp_path: Path) -> None:
    found = shape_of(Path(tiny_llama(str(tmp_path / "m"), hidden_size=64, layers=3, heads=2)))
    assert found is not None and (found.layers, found.hidden, found.cache) == (3, 64, 2 * 3 * 64 * 2)
    assert found.stored == 4 * found.parameters
    assert shape_of(tmp_path) is None


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from Linux")
def test_what_a_training_really_takes(tmp_path: Path) -> None:
    """25 million parameters in a process of their own, against the same process with a tiny model."""
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from tests.training.test_passes import trained, rows_of\n"
        "trained(Path(sys.argv[1]), sys.argv[2], rows_of('sft'), {'optim': 'adamw_torch', 'max_steps': 2})\n"
        "told = Path('/proc/self/status').read_text().partition('VmHWM:')[2]\n"  # getrusage counts the parent's too
        "print(int(told.split()[0]) * 1024)"
    )
    peaks, shapes = [], []
    for name, hidden, layers in (("small", 32, 2), ("large", 512, 8)):
        model = tiny_llama(str(tmp_path / name), hidden_size=hidden, layers=layers, heads=2)
        command = [sys.executable, "-c", code, str(tmp_path / f"{name}-run"), model]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
        peaks.append(int(done.stdout.splitlines()[-1]))
        shapes.append(shape_of(Path(model)))
    told = []
    for shape in shapes:
        assert shape is not None
        args = {"per_device_train_batch_size": 8}
        told.append(needed(shape, {"args": args, "max_tokens": 34}, SAMPLING, 0)["training"] * (1 << 30))
    took, said = peaks[1] - peaks[0], told[1] - told[0]
    print(f"took {took / 2**20:.0f} MiB, said {said / 2**20:.0f} MiB")
    assert 0.6 < took / said < 1.6
