"""``python -m tests.fuzz TARGET [SECONDS]``: coverage-guided fuzzing with atheris, from the shipped cases as seeds."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main() -> None:
    import atheris  # type: ignore[import-not-found,unused-ignore]

    with atheris.instrument_imports(include=["selfimprove"]):
        from tests.fuzz.targets import TARGETS, VALUES, within_limit
    name, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "60"

    def one(data: bytes) -> None:
        within_limit(TARGETS[name], data.decode(errors="replace"))

    with tempfile.TemporaryDirectory() as seeds:
        _write_seeds(Path(seeds), VALUES)
        options = [f"-max_total_time={seconds}", "-max_len=2048", "-timeout=30", "-rss_limit_mb=4096", f"{seeds}"]
        atheris.Setup([sys.argv[0], *options], one)
        atheris.Fuzz()


def _write_seeds(folder: Path, values: Sequence[Any]) -> None:
    import selfimprove
    from selfimprove.sandbox.values import dumps, pack

    for number, value in enumerate(values):
        (folder / f"value-{number}").write_bytes(dumps(pack(value, repr)))

    for file in sorted((Path(selfimprove.__file__).parent / "audit" / "corpus").glob("*.jsonl")):
        for number, line in enumerate(file.read_text().splitlines()):
            (folder / f"{file.stem}-{number}").write_text(str(json.loads(line)["completion"]))


if __name__ == "__main__":
    main()
