from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from selfimprove.errors import PreconditionError
from selfimprove.testing import tiny_llama
from selfimprove.training import models
from selfimprove.types import Policy
from tests.training.conftest import Train, demonstrations


@pytest.fixture
def broken(tiny: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "broken"))


def test_a_directory_without_config_is_refused(broken: Path) -> None:
    (broken / "config.json").unlink()
    with pytest.raises(PreconditionError, match=r"no config\.json"):
        models.local(str(broken))


def test_a_directory_without_tokenizer_is_refused_before_anything_is_trained(broken: Path, train: Train) -> None:
    for path in broken.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(PreconditionError, match=f"{broken}: no tokenizer") as caught:
        train(demonstrations(), Policy(str(broken), "x"))
    assert "save_pretrained" in caught.value.hint


def test_pickled_weights_are_refused(broken: Path) -> None:
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    with pytest.raises(PreconditionError, match=r"only pytorch_model\.bin, which can run code"):
        models.local(str(broken))


def test_a_path_that_does_not_exist_is_refused_without_asking_a_hub(tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match="no such model directory"):
        models.local(str(tmp_path / "nothing"))


def test_a_model_that_cannot_be_parsed_is_refused(broken: Path, train: Train) -> None:
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "model_type": "no-such-architecture"}))
    with pytest.raises(PreconditionError, match=str(broken)):
        train(demonstrations(), Policy(str(broken), "x"))


def test_side_files_are_the_start_s_byte_for_byte(train: Train, tiny: str) -> None:
    Path(tiny, "chat_template.jinja").write_text("{{ messages }}")
    result = train(demonstrations())
    names = sorted(path.name for path in Path(result.source).iterdir())
    assert names == sorted(path.name for path in Path(tiny).iterdir())
    for name in names:
        if name != "model.safetensors":
            assert Path(result.source, name).read_bytes() == Path(tiny, name).read_bytes()
    Path(tiny, "chat_template.jinja").unlink()


def test_weights_keep_the_precision_they_were_stored_in(train: Train, tmp_path: Path) -> None:
    half = tiny_llama(str(tmp_path / "half"), hidden_size=32, layers=1, heads=2, dtype="bfloat16")
    assert models.stored_dtype(Path(half)) == "bfloat16"
    result = train(demonstrations(), Policy(half, "half"))
    assert models.stored_dtype(Path(result.source)) == "bfloat16"


def test_rows_longer_than_the_model_s_context_are_dropped(train: Train, tmp_path: Path) -> None:
    short = tiny_llama(str(tmp_path / "short"), hidden_size=32, layers=1, heads=2, max_position_embeddings=7)
    result = train(demonstrations(8), Policy(short, "short"))
    assert result.dropped == {"too_long": 4} and result.rows == 4
