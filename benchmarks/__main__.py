"""``python -m benchmarks [NAME...] [--json]``: run benchmarks one after the other, each in a fresh process.

Contract: stdout holds the figures (one JSON object with ``--json``), stderr what is being measured. The exit code is
0 whatever the figures are.

See it work: ``python -m benchmarks million --samples 20000``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os

from benchmarks.common import Options, Result, fresh, show

NAMES = ("attempt", "overhead", "loop", "million", "sandbox", "answers", "soak")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios against raw baselines.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)} (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--pairs", type=int, default=3, help="how often each comparison is repeated (default: 3)")
    parser.add_argument("--samples", type=int, default=None, help="samples of attempt and million, for a shorter run")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or every process compiles vLLM anew: nobody's normal start
    results = [one(name, Options(given.pairs, given.samples), given.json) for name in given.names or NAMES]
    if given.json:
        print(json.dumps({result.name: result.as_dict() for result in results}, indent=1))


def one(name: str, options: Options, quiet: bool) -> Result:
    """Measure; print at once unless ``quiet``, because the whole takes a while."""
    result: Result = fresh(importlib.import_module(f"benchmarks.{name}").measure, options)
    if not quiet:
        print(show(result), flush=True)
    return result


if __name__ == "__main__":
    main()
