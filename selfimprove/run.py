"""A run: the only loop over rounds, the gate after each, the figures at the end.

Contract: `execute` begins or continues the run in a directory and returns how it ended; finished work is never done
again, and a run that is finished answers at once. A configuration that differs from the one the run was begun with is
refused by name; more rounds are not a difference. One process owns a run at a time. The report split is evaluated
once per finished state of the run, for the figure that is quoted, and decides nothing.

See it work: ``selfimprove run quickstart`` twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from selfimprove import data as datasets
from selfimprove import mixture, plugins
from selfimprove.beginning import audited
from selfimprove.config import RunConfig, python_recipe_options
from selfimprove.context import Context, check_policy, read_groups, read_step
from selfimprove.control import Stop, signals, spare_collector
from selfimprove.errors import ConfigError, Starved
from selfimprove.evaluate.evaluation import Evaluation, evaluation_of
from selfimprove.gate import Decision, decide, difference, interval_json, points, stop_reason
from selfimprove.identity import RunResult, check_config, create, goal, read_finished
from selfimprove.judged import check_verifiers
from selfimprove.policies import check_model, fetch, is_hub_id, local_policy
from selfimprove.report.progress import Progress
from selfimprove.report.status import read_status, render_rounds
from selfimprove.report.table import percent, round_line
from selfimprove.results import RoundResult, advance, best_json, named, restored, round_result, stored, story
from selfimprove.round import Round
from selfimprove.store.digest import digest
from selfimprove.store.failpoints import failpoint
from selfimprove.store.files import RunFiles, disk_errors
from selfimprove.store.lease import Lease, take
from selfimprove.store.runs import sealed
from selfimprove.store.steps import open_step
from selfimprove.types import Policy, Problem
from selfimprove.workers import Workers, backend_of

NOT_BETTER, STARVED = 3, Starved.exit_code
Found = tuple[Path, str]


def execute(config: RunConfig, run_dir: Path, *, progress: str = "auto", stop: Stop | None = None) -> RunResult:
    """Begin or continue the run in ``run_dir``; ``stop`` may say beforehand where to stop.

    Raises FingerprintError for a changed configuration, LeaseHeld if another process owns the run, Stopped after a
    signal; see ``selfimprove.errors`` for the rest.
    """
    files = RunFiles(run_dir.resolve())
    check_config(files, config)
    finished = read_finished(files, config)
    if finished is not None:
        return finished
    files.folder("")
    spare_collector()
    lease, stop, teller = take(files), stop or Stop(), Progress(files, progress)
    stop.on_request = lambda reason: teller.note(f"{reason}: finishing what is begun, then stopping (again: at once)")
    try:
        run = Run(config, files, lease, teller, stop, _find(config.model.source))
        with signals(stop):  # after the backend has started: Ray installs handlers of its own
            return run.improve()
    except Exception as error:
        teller.state("stopped", error=str(error), exit_code=getattr(error, "exit_code", 1))
        raise
    finally:
        lease.release()


def evaluate_model(config: RunConfig, model: str, *, split: str, n: int, run_dir: Path) -> dict[str, Any]:
    """Evaluate any model on a split of the configuration's problems; durable in ``run_dir`` like everything else.

    Greedy for n = 1; otherwise ``n`` samples per problem and pass@k. Raises PreconditionError for a missing model.
    """
    found_model = _find(model)
    assert found_model is not None
    files = RunFiles(run_dir.resolve())
    files.folder("")
    lease, stop = take(files), Stop()
    try:
        run = Run(config, files, lease, Progress(files, "auto"), stop, found_model)
        try:
            with signals(stop):
                context = run.prepare()
                policy = local_policy(found_model[0])
                problems = getattr(context.splits, split)
                aside = Round(n, policy, named(policy), problems, context, place=f"evals/{policy.digest[:12]}")
                found = aside.evaluate(policy, problems, n=n, name=split)
        finally:
            run.workers.close()
    finally:
        lease.release()
    accuracy, pass_at = interval_json(found.accuracy), {str(k): value for k, value in found.pass_at.items()}
    figures = {"accuracy": accuracy, "pass_at": pass_at, "errors": found.errors, "truncated": found.truncated}
    pass_text = "".join(f", pass@{k} {value:.1%}" for k, value in pass_at.items() if k != "1")
    text = f"{model}: {percent(found.accuracy)} on {found.accuracy.n} {split} problems{pass_text}"
    return {"model": model, "digest": policy.digest, "split": split, "n": n, **figures, "text": text}


class Run:
    """One process's work on a run; made by `execute`, which holds the lease."""

    def __init__(
        self, config: RunConfig, files: RunFiles, lease: Lease, progress: Progress, stop: Stop, model: Found | None
    ) -> None:
        self.config, self.files, self.lease, self.progress, self.stop = config, files, lease, progress, stop
        self.model = model
        self.mixture = mixture.load(config, progress.note)
        self.problems, self.splits = self.mixture.problems, self.mixture.splits
        self.demonstrations = load_demonstrations(config)
        self.workers = Workers(config, backend_of(config, files.root))

    def improve(self) -> RunResult:
        """Round after round until a stop rule ends it; then the report.

        The run is begun (its configuration recorded) once all that can be checked was found in order.
        """
        try:
            self.workers.check()
            check_verifiers(self.config.verifier, self.workers, self.problems)
            create(self.files, self.config)
            audited(context := self.prepare())
            self.context = context
            return self._improve()
        finally:
            self.workers.close()

    def _improve(self) -> RunResult:
        initial = self._initial_policy()
        try:
            base = self._warm_up(initial)
            return self._rounds(initial, base)
        except Starved as error:
            return self._finish(STARVED, f"{error}", {"state": "starved", "hint": error.hint})

    def _rounds(self, initial: Policy, base: Policy) -> RunResult:
        base_evaluation = self._evaluate_base(base)
        results: list[RoundResult] = []
        evaluations = {base.digest: base_evaluation}
        policies = {**named(base), "initial": initial}
        why = None
        while why is None:
            result, evaluation = self._round(len(results) + 1, policies, evaluations)
            results.append(result)
            evaluations[result.candidate.digest] = evaluation
            policies = advance(policies, result)
            why = stop_reason(
                len(results),
                [r.accuracy.value for r in results if r.accuracy],
                rounds=self.config.rounds,
                target=self.config.stop.target,
                patience=self.config.stop.patience,
                base=base_evaluation.accuracy.value if base_evaluation else None,
            )
        return self._report(base, results, policies["best"], why)

    # -- before the first round --------------------------------------------------------------------------------

    def prepare(self) -> Context:
        """Check that the problems and their splits are the ones the run began with."""
        config, problems, splits = self.config, self.problems, self.splits
        held_out = {problem.id for problem in (*splits.gate, *splits.report)}
        prompts = {problem.id: problem.prompt for problem in problems}  # with what their templates are told
        shown = [replace(d, prompt=prompts.get(d.id, d.prompt)) for d in self.demonstrations]
        demonstrations = [problem for problem in shown if problem.id not in held_out]
        inputs = {
            "data.problems": datasets.problems_digest(problems),
            "data.demonstrations": datasets.problems_digest(demonstrations),
            "splits": digest([[p.id for p in part] for part in (splits.train, splits.gate, splits.report)]),
        }
        step = open_step(self.files, "setup/problems", inputs, self.lease)
        if step.marker is None:
            counts = {"train": len(splits.train), "gate": len(splits.gate), "report": len(splits.report)}
            step.publish(digest=digest(inputs), counts=counts)
        by_id = {problem.id: problem for problem in [*demonstrations, *problems]}
        return Context(
            config, self.files, self.lease, self.workers, self.progress, self.stop, by_id, splits, demonstrations
        )

    def _initial_policy(self) -> Policy:
        """The checkpoint given, built or fetched."""
        model = self.config.model
        if model.build:
            return self._built_policy(model.build, model.args)
        assert self.model is not None and model.source is not None
        path, revision = self.model
        policy = local_policy(path)
        inputs = {"model": model.source, "revision": revision} if revision else {"model": policy.digest}
        step = open_step(self.files, "setup/model", inputs, self.lease)
        if step.marker is None:
            step.publish(digest=policy.digest)
        self.workers.warm()
        return policy

    def _built_policy(self, spec: str, args: Mapping[str, Any]) -> Policy:
        inputs = {"build": spec, "args": json.dumps(args, sort_keys=True)}
        step = open_step(self.files, "setup/model", inputs, self.lease)
        if step.marker is None:
            output = step.workdir() / "model"
            with disk_errors(output):
                self.workers.trainer().call("build", spec, dict(args), str(output))
            policy = local_policy(output)
            where = {"source": str(output.relative_to(self.files.local("setup/model")))}
            outputs = sorted(path for path in output.rglob("*") if path.is_file())
            step.publish(outputs, digest=policy.digest, data=where)
        assert step.marker is not None
        source = self.files.local("setup/model") / step.marker.data["source"]
        return Policy(str(source), step.marker.digest)

    def _warm_up(self, initial: Policy) -> Policy:
        """Round 0: the warm-up recipe makes the base from the checkpoint given; without one they are the same."""
        if self.config.warmup is None:
            return initial
        marker = self._committed(0)
        if marker is not None:
            return restored(self.files, marker["candidate"])
        self.workers.preload(initial)
        round_ = Round(0, initial, named(initial), self.context.splits.train, self.context)
        began = time.monotonic()
        candidate = self._call_recipe(round_, warmup=True)
        self._commit(round_, candidate, None, Decision(True, False, "warm-up"), time.monotonic() - began)
        return candidate

    def _evaluate_base(self, base: Policy) -> Evaluation | None:
        """The base on the gate split: what every candidate is compared with."""
        if not self.context.splits.gate:
            return None
        evaluation = Round(0, base, named(base), [], self.context).evaluate(base, name="gate")
        step = open_step(self.files, "setup/base", {"policy": base.digest}, self.lease)
        if step.marker is None:
            accuracy = interval_json(evaluation.accuracy)
            step.publish(digest=digest(accuracy), data={"accuracy": accuracy})
            self.progress.say(f"base: gate {percent(evaluation.accuracy)}")
        return evaluation

    # -- one round ---------------------------------------------------------------------------------------------

    def _round(
        self, index: int, policies: Mapping[str, Policy], evaluations: Mapping[str, Evaluation | None]
    ) -> tuple[RoundResult, Evaluation | None]:
        marker = self._committed(index)
        if marker is not None:
            result = round_result(self.files, index, marker)
            if not self.context.splits.gate:
                return result, None
            groups = read_groups(self.context, f"rounds/{index:03d}/gate")
            again = Round(index, result.candidate, policies, [], self.context)
            return result, evaluation_of(groups) if groups else again.evaluate(result.candidate, name="gate")
        failpoint("round.before")
        began = time.monotonic()
        sampled_with = policies[self.config.sample_from]
        problems = mixture.asked(self.mixture, self.config, index)
        round_ = Round(index, sampled_with, policies, problems, self.context, memory=self._memory(index))
        candidate = self._call_recipe(round_)
        evaluation = round_.evaluate(candidate, name="gate") if self.context.splits.gate else None
        base, best = evaluations[policies["base"].digest], evaluations[policies["best"].digest]
        decision = decide(base, best, evaluation, each_task=self.config.evaluation.each_task)
        self._commit(round_, candidate, evaluation, decision, time.monotonic() - began)
        accuracy = evaluation.accuracy if evaluation else None
        return RoundResult(index, candidate, accuracy, decision), evaluation

    def _call_recipe(self, round_: Round, *, warmup: bool = False) -> Policy:
        recipe = self.config.warmup if warmup else self.config.recipe
        assert recipe is not None
        function = plugins.resolve("recipe", recipe.name)
        options = python_recipe_options(self.config, "warmup" if warmup else "recipe")
        with plugins.blamed("recipe", recipe.name, f"in round {round_.index}"):
            candidate = function(round_, options)
        if not isinstance(candidate, Policy):
            hint = "end it with `return round.train(...)`, or return one of round.policies"
            what = f"recipe {recipe.name} returned {type(candidate).__name__}; it must return a Policy"
            raise ConfigError(what, hint=hint)
        return candidate

    def _memory(self, index: int) -> dict[str, Any]:
        before = self._committed(index - 1)
        return dict(before["memory"]) if before else {}

    def _committed(self, index: int) -> Mapping[str, Any] | None:
        step = read_step(self.files, f"rounds/{index:03d}")
        return step.marker.data if step is not None and step.marker is not None else None

    def _commit(
        self, round_: Round, candidate: Policy, evaluation: Evaluation | None, decision: Decision, total: float
    ) -> None:
        """Publish the round; its digest covers what was decided from, not how long it took."""
        seconds = {**round_.seconds, "other": max(0.0, total - sum(round_.seconds.values()))}
        accuracy = evaluation.accuracy if evaluation else None
        data = {
            "candidate": stored(self.files, candidate),
            "accuracy": interval_json(accuracy),
            "decision": asdict(decision),
            "memory": round_.memory,
            "evaluation": _found(evaluation) if evaluation else {},
        }
        stamp = digest([candidate.digest, interval_json(accuracy), asdict(decision), round_.memory])
        step = open_step(self.files, round_.key, {"recipe": self._recipe_name(round_.index)}, self.lease)
        step.publish(digest=stamp, counts=round_.counts, data=data, seconds=seconds)
        failpoint("round.committed")
        if round_.index or decision.reason == "warm-up":
            self.progress.say(round_line(round_.index, round_.counts, accuracy, decision.reason, seconds))

    def _recipe_name(self, index: int) -> str:
        recipe = self.config.recipe if index else self.config.warmup
        return recipe.name if recipe else ""

    # -- the end -----------------------------------------------------------------------------------------------

    def _report(self, base: Policy, results: Sequence[RoundResult], best: Policy, why: str) -> RunResult:
        """Evaluate the base and the highest round on the report split, once, and say what happened."""
        failpoint("final.before")
        compared = bool(self.context.splits.gate)
        highest = max(results, key=lambda r: (r.accuracy.value if r.accuracy else r.index, -r.index))
        named = next((r for r in results if r.candidate.digest == best.digest), None)
        chosen = named or highest
        check_policy(self.files, chosen.candidate)
        report = self._final(len(results), base, chosen.candidate) if self.context.splits.report else None
        data = {
            "state": "finished",
            "stopped": why,
            "rounds": len(results),
            "best": best_json(named),
            "report": report,
        }
        next_step = f"next: selfimprove show {self.files.root}"
        if named is None and compared:
            assert highest.decision.versus_base is not None
            message = (
                f"no round was better: the highest was round {highest.index}, "
                f"{points(highest.decision.versus_base)} against the base on the gate split ({why}); {next_step}"
            )
            return self._finish(NOT_BETTER, message, data)
        return self._finish(0, f"{story(chosen, report)} ({why}); model: {best.source}; {next_step}", data)

    def _final(self, rounds: int, base: Policy, chosen: Policy) -> dict[str, Any]:
        final = Round(rounds, base, named(base), [], self.context, place="final")
        before = final.evaluate(base, self.context.splits.report, name="base")
        after = final.evaluate(chosen, self.context.splits.report, name="best")
        return {
            "base": interval_json(before.accuracy),
            "best": interval_json(after.accuracy),
            "difference": interval_json(difference(before, after)),
        }

    def _finish(self, exit_code: int, message: str, data: Mapping[str, Any]) -> RunResult:
        body = {"schema": "selfimprove.finished", "version": 1, "goal": goal(self.config), "exit_code": exit_code}
        whole = {**body, "message": message, "data": data, "at": time.time()}
        self.files.replace_small("FINISHED.json", sealed(whole))
        failpoint("finished.written")
        self.progress.state(str(data["state"]), exit_code=exit_code)
        self.progress.say(f"\n{render_rounds(read_status(self.files.root))}\n")
        return RunResult(exit_code, message, data)


def load_demonstrations(config: RunConfig) -> list[Problem]:
    """The problems of ``data.demonstrations``, each with its human solution, or none."""
    source = config.data.demonstrations
    if source is None:
        return []
    return datasets.load(source.source, source.args, config.data.columns.model_dump(), require=("completion",))


def _found(evaluation: Evaluation) -> dict[str, Any]:
    """What a round's marker keeps of an evaluation besides its accuracy."""
    tasks = {"by_task": {task: interval_json(found) for task, found in evaluation.by_task.items()}}
    counts = {"errors": evaluation.errors, "truncated": evaluation.truncated}
    return {**counts, **(tasks if evaluation.by_task else {})}


def _find(model: str | None) -> Found | None:
    """The model's directory and, for a hub id, its revision: what is missing is said before any process starts."""
    if model is None:
        return None
    if is_hub_id(model):
        return fetch(model)
    check_model(Path(model))
    return Path(model), ""
