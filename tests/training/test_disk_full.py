"""A disk that fills while weights are saved is a full disk. Run: pytest tests/training/test_disk_full.py"""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfimprove.training.models import disk_full


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_safetensors_on_a_full_disk(small: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    with pytest.raises(OSError) as caught, disk_full(small):
        save_file({"weights": torch.zeros(100_000)}, str(small / "model.safetensors"))
    assert caught.value.errno == errno.ENOSPC
