"""Which verifier judges which kind of cases: read from the verifiers' own files, so that none is named here.

Contract: a verifier's file says what it judges in a constant at its top, ``JUDGES_CASES = ("math",)``; it is read
and not imported. What asks a model cannot judge offline: of such verifiers the *reading* of a model's output and the
cleaning of what it is shown are audited, by the ``judge`` cases.

See it work: ``pytest tests/audit/test_targets.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from selfimprove import plugins, sources
from selfimprove.errors import ConfigError
from selfimprove.types import Problem, Sample
from selfimprove.verify.forms import form_of

CONSTANT = "JUDGES_CASES"
JUDGE = "judge"
_READING = f"{__name__}:reading"


@dataclass(frozen=True, slots=True)
class Target:
    """A verifier as the pool takes it. ``declared`` says that its file names the kinds it judges."""

    spec: str
    args: Mapping[str, Any] = field(default_factory=dict)
    threshold: float | None = None
    declared: bool = True


def reading(problem: Problem, sample: Sample) -> Any:
    """Decides a ``judge`` case, whose task the problem's ``tests`` hold; runs in a worker like any verifier."""
    from selfimprove.judging.cases import decide

    return decide(problem.tests, sample.completion)


def shipped() -> dict[str, str]:
    """Kind of cases -> the verifier of this package that judges them."""
    table = {JUDGE: _READING}
    for name, _, origin in plugins.names("verifier"):
        if origin == "built-in" and form_of(name).kind != "judge":
            for kind in declared(name) or ():
                table.setdefault(kind, name)
    return table


def declared(spec: str) -> tuple[str, ...] | None:
    """The kinds that a verifier's file says it judges, or None if it says nothing. Raises ConfigError as `locate`."""
    place = plugins.locate("verifier", spec)
    kinds = sources.constant(place.file, CONSTANT)
    if kinds is None:
        return None
    if isinstance(kinds, str):
        kinds = (kinds,)
    if not isinstance(kinds, tuple | list) or not all(isinstance(kind, str) for kind in kinds):
        raise ConfigError(f"{place.file}: {CONSTANT} must be a tuple of kinds, such as ('math',), got {kinds!r:.80}")
    return tuple(kinds)


def targets(
    spec: str | None,
    kinds: Collection[str],
    *,
    args: Mapping[str, Any] | None = None,
    threshold: float | None = None,
    only: Collection[str] = (),
) -> dict[str, Target]:
    """Kind -> who judges it, for those of ``kinds`` that anybody judges; ``only`` narrows them.

    Without ``spec`` each kind goes to the verifier shipped for it. A ``spec`` whose file declares nothing gets every
    kind but ``judge``, or those in ``only``. Raises ConfigError if there is no such verifier, and if it judges groups
    or asks a model without declaring what can be audited without one.
    """
    wanted = {kind for kind in kinds if not only or kind in only}
    if spec is None:
        return {kind: Target(name) for kind, name in shipped().items() if kind in wanted}
    form, says = form_of(spec).kind, declared(spec)
    if form != "sample" and says is None:
        what = "asks a model" if form == "judge" else "compares the samples of a group"
        hint = f"a file may declare what is left to audit: {CONSTANT} = ('judge',); see docs/audit.md"
        raise ConfigError(f"verifier {spec!r} {what}: it cannot be audited case by case", hint=hint)
    target = Target(plugins.absolute(spec), dict(args or {}), threshold, says is not None)
    if says is None:
        says = tuple(only) or tuple(kind for kind in kinds if kind != JUDGE)
    if form == "judge":
        return {JUDGE: Target(_READING)} if JUDGE in wanted and JUDGE in says else {}
    return {kind: target for kind in says if kind in wanted}
