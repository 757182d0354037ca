"""The audit as a whole: files of cases or of problems in, an `Audit` out.

Contract: nothing of it stays: the pools are closed, and what was left behind is named.

See it work: ``selfimprove verifiers check``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfimprove import data
from selfimprove.audit import cases as case_files
from selfimprove.audit import completions, noise
from selfimprove.audit.dataset import audit_problems
from selfimprove.audit.leaks import Watch
from selfimprove.audit.report import Audit
from selfimprove.audit.runner import Say, Setting, judge
from selfimprove.audit.targets import CONSTANT, Target, declared, targets
from selfimprove.audit.trials import Judged, Trial
from selfimprove.errors import ConfigError
from selfimprove.verify.forms import form_of


def check_cases(
    spec: str | None,
    files: Sequence[Path | str] = (),
    *,
    setting: Setting,
    say: Say,
    args: Mapping[str, Any] | None = None,
    threshold: float | None = None,
    kinds: Collection[str] = (),
) -> Audit:
    """Judge cases (default: those that come with the package) by ``spec``, or each kind by the verifier shipped for it.

    Raises ConfigError for bad cases, a verifier that cannot be loaded, and if no case is left to judge.
    """
    trials = case_files.read_cases(files or case_files.corpus())
    present = list(dict.fromkeys(trial.kind for trial in trials))
    known = targets(spec, present, args=args, threshold=threshold, only=kinds)
    skipped = Counter(trial.kind for trial in trials if trial.kind not in known)
    began = time.monotonic()
    judged: list[Judged] = []
    with Watch() as watch:
        for target, mine in _assigned(trials, known):
            judged += judge(target, mine, setting, watch, say)
    judged, warnings = _taken(judged, known, kinds, skipped)
    if not judged:
        raise ConfigError(_nothing(spec, present, kinds), hint="docs/audit.md says how a verifier declares its kinds")
    place = {trial.id: at for at, trial in enumerate(trials)}
    judged.sort(key=lambda one: place[one.trial.id])
    found = noise.case_noise([one.trial for one in judged])
    return Audit(judged, time.monotonic() - began, watch.left, found, dict(skipped), warnings=warnings)


def check_problems(
    spec: str,
    file: str,
    *,
    setting: Setting,
    say: Say,
    args: Mapping[str, Any] | None = None,
    threshold: float | None = None,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
) -> Audit:
    """Judge gold and bad completions of the problems of ``file`` (all, or ``limit`` spread over it) by ``spec``.

    Raises ConfigError for a bad file or verifier, and for one that cannot judge completions one by one.
    """
    form = form_of(spec).kind
    if form != "sample":
        what = "asks a model" if form == "judge" else "compares the samples of a group"
        raise ConfigError(f"verifier {spec!r} {what}: it cannot be audited one completion at a time")
    loaded = data.read(file, {}, dict(columns or {}))
    target = Target(_absolute(spec), dict(args or {}), threshold)
    began = time.monotonic()
    with Watch() as watch:
        golds, bad = audit_problems(loaded.problems, target, setting, watch, say, limit)
    asked = {one.trial.problem.id for one in (*golds.judged, *bad)}
    problems = [problem for problem in loaded.problems if problem.id in asked]
    return Audit(
        [*golds.judged, *bad],
        time.monotonic() - began,
        watch.left,
        noise.label_noise(problems, golds.refused),
        chance=completions.CHANCE,
        without_gold=golds.without,
        warnings=loaded.notes,
    )


def _assigned(trials: Sequence[Trial], known: Mapping[str, Target]) -> list[tuple[Target, list[Trial]]]:
    """Each verifier once, with the trials of all its kinds."""
    found: list[tuple[Target, list[Trial]]] = []
    for target in dict.fromkeys(map(id, known.values())):
        kinds = {kind for kind, who in known.items() if id(who) == target}
        found.append((known[next(iter(kinds))], [trial for trial in trials if trial.kind in kinds]))
    return found


def _taken(
    judged: list[Judged], known: Mapping[str, Target], kinds: Collection[str], skipped: Counter[str]
) -> tuple[list[Judged], tuple[str, ...]]:
    """Without the kinds that a verifier of the user's evidently is not for: it erred on every case of them.

    Only where its file declares nothing, nobody named the kind, and it judged another kind.
    """
    alike = {kind: all(one.errored for one in judged if one.trial.kind == kind) for kind in known}
    foreign = {kind for kind, erred in alike.items() if erred and not known[kind].declared and not kinds}
    if not foreign or foreign == set(known):
        return judged, ()
    skipped.update(one.trial.kind for one in judged if one.trial.kind in foreign)
    example = next(one for one in judged if one.trial.kind in foreign)
    what = (
        f"it erred on every case of kind {', '.join(sorted(foreign))}, which it seems not to be for: {example.reason}"
    )
    hint = f"name its kinds with --kind, or in its file: {CONSTANT} = ({next(iter(set(known) - foreign))!r},)"
    return [one for one in judged if one.trial.kind not in foreign], (f"{what}; {hint}",)


def _nothing(spec: str | None, present: Sequence[str], kinds: Collection[str]) -> str:
    there = f"the cases are of kind {', '.join(present)}"
    if spec is None:
        return f"no verifier that comes with this package judges them: {there}"
    says = declared(spec)
    judges = f"its file says {', '.join(says)}" if says is not None else "its file does not say what it judges"
    return f"verifier {spec!r} judges none of these cases: {there}, {judges}" + (
        f", --kind says {', '.join(kinds)}" if kinds else ""
    )


def _absolute(spec: str) -> str:
    from selfimprove import plugins

    return plugins.absolute(spec)
