"""selfimprove: a language model made better by its own verified answers, round after round.

Contract: importing this package is cheap (no torch, vLLM, TRL or Ray) and gives the public names that recipes and
verifiers use. ``from selfimprove import passed, demonstrations`` is all a recipe needs.

See it work: ``make quickstart``, or ``selfimprove --help``.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from selfimprove.prompts import conversation as conversation
    from selfimprove.round import Round as Round
    from selfimprove.select import *  # noqa: F403
    from selfimprove.types import *  # noqa: F403
    from selfimprove.views import few_shot as few_shot
    from selfimprove.views import hint as hint


def hide_mismatched(modules: tuple[str, ...] = ("torchvision", "torchaudio", "torchcodec")) -> list[str]:
    """Make a CPU-only torch's mismatched companions look absent; returns the names hidden.

    A ``torch+cpu`` beside a plain ``torchvision`` breaks ``import vllm`` and ``import trl`` ("operator
    torchvision::nms does not exist"). Nothing here needs these packages, so they are hidden from this process.
    """
    versions = _installed(("torch", *modules))
    if "+cpu" not in versions.get("torch", ""):
        return []
    hidden = [m for m in modules if m in versions and "+cpu" not in versions[m] and m not in sys.modules]
    for module in hidden:
        sys.modules[module] = None  # type: ignore[assignment]
    return hidden


def _installed(names: tuple[str, ...]) -> dict[str, str]:
    """Versions by the names of ``dist-info`` directories: importlib.metadata alone takes 30 ms to import."""
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            entries = os.listdir(folder or ".")
        except OSError:
            continue
        for entry in entries:
            name, _, rest = entry.partition("-")
            if name in names and rest.endswith(".dist-info"):
                found.setdefault(name, rest.removesuffix(".dist-info"))
    return found


hide_mismatched()

_TYPES = (
    "Attempt Demonstration Example Group Interval Label Message Policy PreferencePair Problem Sample SampleRequest "
    "SamplingParams TrainRequest TrainResult Turn Verdict erring failing messages passing"
)
_SELECT = (
    "best demonstrations distinct edit_distance equation_key equations_hold farthest first gold gold_over_own mix "
    "pairs passed shortest"
)
_PUBLIC = {
    **dict.fromkeys(_TYPES.split(), "selfimprove.types"),
    **dict.fromkeys(_SELECT.split(), "selfimprove.select"),
    **dict.fromkeys(("few_shot", "hint"), "selfimprove.views"),
    "Round": "selfimprove.round",
    "conversation": "selfimprove.prompts",
}
__all__ = [*_PUBLIC, "hide_mismatched"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Public names load with the module that defines them, on first use."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'selfimprove' has no attribute {name!r}")
