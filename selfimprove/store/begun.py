"""Samples under way, kept every so often, so that a killed run goes on in the middle of a long one.

Contract: one small file beside the step, replaced as a whole; losing it costs tokens, never correctness. It counts only
for the step whose inputs it was written under. A sample that went on says where (`Sample.resumed_at`): given its
beginning the rest is drawn anew, which is the same distribution and another draw than an unbroken run's.

See it work: ``pytest tests/store/test_begun.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from selfimprove.store.digest import digest
from selfimprove.store.steps import Step
from selfimprove.types import SampleRequest, SamplingParams

FILE = "begun.json"
# Options under which the rest of a completion depends on its beginning through nothing but the model.
MEMORYLESS = ("min_p", "ignore_eos", "stop_token_ids", "skip_special_tokens", "spaces_between_special_tokens")


def may_go_on(params: SamplingParams) -> bool:
    """Whether a completion can be drawn in two goes: not with penalties, stop strings or log-probabilities to sum."""
    return not (params.stop or params.logprobs or params.score or set(params.extra) - set(MEMORYLESS))


class Begun:
    """What is known of the samples under way in ``step``; written once one of them has ``every`` new tokens."""

    def __init__(self, step: Step, every: int) -> None:
        self.step, self.every = step, every
        self._key, self._stamp = f"{step.key}/{FILE}", digest(dict(step.inputs))
        self._ids: dict[str, Sequence[int]] = self._read()

    def _read(self) -> dict[str, Sequence[int]]:
        try:
            told = json.loads(self.step.files.read(self._key) or b"{}")
        except ValueError:
            return {}  # torn by a full disk: it only costs tokens
        return dict(told["ids"]) if told.get("inputs") == self._stamp else {}

    def of(self, request: SampleRequest) -> SampleRequest:
        """``request`` with what there is of its samples."""
        ids = tuple(tuple(self._ids.get(f"{request.key}/{index}", ())) for index in request.indexes)
        return replace(request, begun=ids) if any(ids) else request

    def take(self, found: Mapping[str, Sequence[int]]) -> None:
        """Remember ``found`` and write it down if it is news."""
        fresh = {name: ids for name, ids in found.items() if len(ids) >= len(self._ids.get(name, ())) + self.every}
        if fresh:
            self._ids.update(fresh)
            body = {"inputs": self._stamp, "ids": {name: list(ids) for name, ids in self._ids.items()}}
            self.step.files.replace_small(self._key, json.dumps(body).encode())

    def drop(self, names: Iterable[str]) -> None:
        """Forget samples that are finished."""
        for name in names:
            self._ids.pop(name, None)

    def clear(self) -> None:
        """The step is done."""
        self.step.files.delete(self._key)
