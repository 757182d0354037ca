"""What could self-training win here? A few problems, eight samples each, judged: before anything is trained.

Contract: a probe is the beginning of a real run. It writes the configuration, begins the run, and stops once the first
problems of round 1 are judged; the run, started later, goes on from there. Only verifiers that judge samples or groups
can be probed; one that asks a model judges when a step is sampled to its end.

See it work: ``selfimprove probe --model MODEL --data FILE --verifier VERIFIER``.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfimprove import data, plugins
from selfimprove.config import load_config, strict_yaml
from selfimprove.control import Stop
from selfimprove.equations import normalised
from selfimprove.errors import ConfigError, Stopped
from selfimprove.evaluate.stats import maj_at_k, pass_at_k, wilson
from selfimprove.run import execute
from selfimprove.selection import fate
from selfimprove.store.files import RunFiles
from selfimprove.store.groups import read_samples, read_verdicts
from selfimprove.store.steps import Step, read_parts
from selfimprove.types import Attempt
from selfimprove.verify.forms import form_of

SHOWN = 10
ATTEMPT = "rounds/001/attempt"


@dataclass(frozen=True)
class Asked:
    """A probe: ``model``, ``data`` and ``verifier`` as a configuration names them; ``problems`` times ``samples``."""

    model: str
    data: str
    verifier: str
    problems: int = 64
    samples: int = 8
    max_tokens: int = 512


def configuration(asked: Asked) -> dict[str, Any]:
    """The configuration of the run that the probe begins."""
    found = data.read(asked.data, {}, {}).problems
    held_out = min(200, len(found) // 5)
    file = Path(asked.data)
    return {
        "model": str(Path(asked.model).resolve()) if Path(asked.model).is_dir() else asked.model,
        "data": {
            "problems": str(file.resolve()) if file.is_file() else asked.data,
            "gate": held_out,
            "report": held_out,
        },
        "recipe": {"name": _recipe(), "samples": asked.samples, "temperature": 1.0},
        "verifier": {"name": plugins.absolute(asked.verifier), "max_error_share": 1.0},
        "sampling": {"max_tokens": asked.max_tokens, "part_samples": asked.problems * asked.samples},
    }


def _recipe() -> str:
    """The method of the first preset that people try."""
    preset = strict_yaml.read(plugins.presets()["quickstart"], "quickstart").value
    return str(preset["recipe"]["name"])


def probe(
    asked: Asked, file: Path, run_dir: Path, overrides: Sequence[str] = (), progress: str = "auto"
) -> dict[str, Any]:
    """Write the configuration to ``file`` (or find it there), sample and judge, and say what came of it.

    Raises ConfigError for a file of that name with something else in it, and for a verifier that asks a model.
    """
    if form_of(asked.verifier).kind == "judge":
        raise ConfigError(f"verifier {asked.verifier!r} asks a model: a probe judges with one that does not")
    text = "# Written by `selfimprove probe`.\n" + strict_yaml.dump(configuration(asked))
    if file.exists() and file.read_text() != text:
        raise ConfigError(f"{file} exists and says something else; give another --name, or remove it")
    file.write_text(text)
    config = load_config([str(file)], list(overrides))
    began = time.monotonic()
    try:
        execute(config, run_dir, progress=progress, stop=Stop(parts=1))
    except Stopped as stopped:
        if "as asked" not in str(stopped):
            raise
    seconds = time.monotonic() - began
    command = " ".join(["selfimprove run", str(file), *map(shlex.quote, overrides), "--run-dir", str(run_dir)])
    return {
        **figures(_attempts(run_dir)),
        "seconds": seconds,
        "config": str(file),
        "run": str(run_dir),
        "next": command,
    }


def _attempts(run_dir: Path) -> list[Attempt]:
    """What the first part of round 1 holds."""
    files = RunFiles(run_dir.resolve())
    samples = Step(files, f"{ATTEMPT}/samples", {}, None)
    names = [name for name in files.list(ATTEMPT) if name.startswith("verdicts-")]
    verdicts = Step(files, f"{ATTEMPT}/{names[0]}", {}, None)
    drawn = read_samples(samples, read_parts(files, samples.key)[0])
    judged = read_verdicts(verdicts, read_parts(files, verdicts.key)[0])
    return [Attempt(sample, (verdict,)) for sample, verdict in zip(drawn, judged, strict=True)]


def figures(attempts: Sequence[Attempt]) -> dict[str, Any]:
    """pass@1, maj@n and pass@n over the problems, what is never and always solved, and a few samples to read.

    A sample that was cut off counts as not passed, one that could not be judged as not drawn.
    """
    groups: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        groups.setdefault(attempt.sample.problem_id, []).append(attempt)
    judged = [[a for a in group if fate(a) != "error"] for group in groups.values()]
    judged = [group for group in judged if group]
    passes = [sum(a.passed for a in group) for group in judged]
    words = Counter(fate(attempt) for attempt in attempts)
    k = max(map(len, judged), default=0)
    single = wilson(sum(p / len(group) for p, group in zip(passes, judged, strict=True)), len(judged))
    errors = Counter(a.verdicts[0].error or "" for a in attempts if fate(a) == "error")
    return {
        "problems": len(groups),
        "samples": len(attempts),
        "pass@1": {"value": single.value, "low": single.low, "high": single.high, "n": single.n},
        f"maj@{k}": _mean([maj_at_k(*_votes(group)) for group in judged]),
        f"pass@{k}": _mean([pass_at_k(len(g), p, len(g)) for p, g in zip(passes, judged, strict=True)]),
        "never_solved": sum(p == 0 for p in passes),
        "always_solved": sum(p == len(group) for p, group in zip(passes, judged, strict=True)),
        "truncated": words["truncated"],
        "errors": dict(errors),
        "tokens": _mean([len(a.sample.token_ids) for a in attempts]),
        "k": k,
        "passed": _shown(attempts, "passed"),
        "failed": _shown(attempts, "failed"),
    }


def _votes(group: Sequence[Attempt]) -> tuple[list[Any], list[bool]]:
    """What each sample answered: as the verifier read it, else its whole text."""
    said = [a.verdicts[0].answer or normalised(a.sample.completion) or None for a in group]
    return said, [a.passed for a in group]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _shown(attempts: Sequence[Attempt], word: str) -> list[dict[str, str]]:
    """Samples to read, of as many problems as there are."""
    found: dict[str, Attempt] = {}
    for attempt in attempts:
        if fate(attempt) == word:
            found.setdefault(attempt.sample.problem_id, attempt)
    return [
        {
            "id": a.sample.id,
            "prompt": a.sample.prompt,
            "completion": a.sample.completion,
            "reason": a.verdicts[0].reason,
        }
        for a in list(found.values())[:SHOWN]
    ]


def render(found: Mapping[str, Any]) -> str:
    """The same for people."""
    k, single = found["k"], found["pass@1"]
    gap = found[f"pass@{k}"] - single["value"]
    lines = [
        f"{found['problems']} problems x {k} samples, {found['tokens']:.0f} tokens each, {found['seconds']:.0f} s",
        f"pass@1 {single['value']:.1%} [{single['low']:.1%}, {single['high']:.1%}]   maj@{k} {found[f'maj@{k}']:.1%}   "
        f"pass@{k} {found[f'pass@{k}']:.1%}   gap {100 * gap:+.1f} points: what its own right answers can teach it",
        f"never solved {found['never_solved']}, always solved {found['always_solved']}, truncated {found['truncated']} "
        f"of {found['samples']} samples, errors {sum(found['errors'].values())}"
        + "".join(f" ({name}: {count})" for name, count in found["errors"].items()),
    ]
    for word in ("passed", "failed"):
        lines.append(f"{word}:")
        for row in found[word]:
            said = " ".join(row["completion"].split())[:100]
            why = f"  ({row['reason'][:60]})" if row["reason"] else ""
            lines.append(f"  {' '.join(row['prompt'].split())[-60:]} -> {said}{why}")
    lines.append(f"go on from here: {found['next']}")
    return "\n".join(lines)
