"""`TRLTrainer`: one training after another in one process, each from files to files.

Contract: ``output/model`` holds full weights, or ``output/adapter`` a PEFT adapter (and ``output/base`` the base it
belongs to, where the start's adapter was merged), and ``output/canary.json`` log-probabilities measured on what was
written. The same request gives the same bytes on the same CPU with the same number of threads, also if a checkpoint was
resumed on the way. Nothing is saved from a training that diverged. Several processes end with one result, which the
first of them writes (`selfimprove.training.launch`).

See it work: ``pytest tests/training/test_trl.py``.
"""

from __future__ import annotations

import gc
import inspect
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfimprove.errors import ConfigError, Stopped
from selfimprove.plugins import resolve
from selfimprove.training import adapters, canary, checkpoints, launch, lean, models, options, passes, rows, sharded
from selfimprove.training.models import Loading
from selfimprove.types import Policy, TrainRequest, TrainResult


def trainer_environment(config: Mapping[str, Any]) -> dict[str, str]:
    """Environment variables for a trainer process, to be set before it starts. ``config`` is ``training``.

    Threads that wait must sleep: by default they spin, and where another process wants the same cores a training on
    two threads takes twenty times as long as on one.
    """
    threads = config.get("threads") or len(os.sched_getaffinity(0))
    return {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }


class TRLTrainer:
    """Trains with TRL. ``config`` and ``model`` are the ``training`` and ``model`` parts of a run's config."""

    def __init__(self, config: Mapping[str, Any], model: Mapping[str, Any]) -> None:
        self.config, self.model = dict(config), dict(model)
        self.trusts_code = bool(self.model.get("trust_remote_code", False))
        self._warmed = False

    def warm(self) -> None:
        """Import torch, transformers and TRL: six seconds that the first training need not wait for."""
        if not launch.is_launched(self.config):
            self._import()

    def _import(self) -> None:
        for name, value in trainer_environment(self.config).items():
            os.environ.setdefault(name, value)
        import datasets
        import peft  # noqa: F401
        import transformers
        import trl  # noqa: F401

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        datasets.disable_progress_bars()
        if not self._warmed:
            # a million objects of the imports would be walked by every collection of every training
            gc.collect()
            gc.freeze()
            self._warmed = True

    def build(self, spec: str, args: Mapping[str, Any], output: str) -> str:
        """Run the model builder ``spec`` as ``function(output, **args)`` and return the model directory.

        ConfigError if there is no such function or it does not take ``args``; PreconditionError if what it wrote is
        no model.
        """
        self._import()
        builder = resolve("model", spec)
        try:
            inspect.signature(builder).bind(output, **args)
        except TypeError as error:
            raise ConfigError(f"model builder {spec!r} does not take args {dict(args)!r}: {error}") from error
        builder(output, **args)
        models.check(Path(output))
        return output

    def train(self, request: TrainRequest) -> TrainResult:
        """Run one training.

        ConfigError for options or rows that cannot be trained, Starved without rows, PreconditionError for a model
        that cannot be loaded, Diverged for a loss that is no number, Stopped if it was asked to stop and has saved a
        checkpoint.
        """
        if request.objective not in rows.KINDS:
            raise ConfigError(f"objective {request.objective!r} is not one of {', '.join(rows.KINDS)}")
        if launch.is_launched(self.config):
            return launch.train(self.config, self.model, request)
        self._import()
        try:
            return _Training(self, request).run()
        finally:
            _free()


class _Training:
    """One training, from request to result: holds what its stages share."""

    def __init__(self, owner: TRLTrainer, request: TrainRequest) -> None:
        self.owner, self.request = owner, request
        self.seconds: dict[str, float] = {}
        self.output = Path(request.output)
        self.device = options.hardware()
        self.settings = options.settings(
            request.objective,
            request.args,
            output=request.output,
            seed=request.seed,
            dtype=request.dtype,
            device=self.device,
        )
        sharded.prepare(self.device.cuda)
        options.spread(self.settings, owner.config.get("batch_size"))
        if request.lora is not None:
            options.check_lora(request.lora)

    def run(self) -> TrainResult:
        _set_threads(self.owner.config.get("threads"))
        with self.timed("load"):
            self.prepare()
        reference = None
        if self.request.objective == "dpo":
            with self.timed("reference"):
                reference = self.reference()
            _free()
        with self.timed("load"):
            trainer = self.trainer(reference)
        with self.timed("train"):
            outcome = self.fit(trainer)
            lean.check_finite(trainer.model)
        metrics = self.metrics(trainer, outcome)
        steps = outcome.global_step
        with self.timed("save"):
            whole = sharded.gather(trainer)
            if not trainer.is_world_process_zero():  # of several processes the first one writes
                return TrainResult("", None, steps, len(self.rows.kept), self.rows.dropped, metrics, self.seconds)
            policy = self.save(trainer.accelerator.unwrap_model(trainer.model), whole)
            del whole
        del trainer, outcome
        _free()
        with self.timed("canary"):
            weights = adapters.weights_of(policy)
            merged = replace(weights, merged=weights.adapter is not None)
            with sharded.alone():
                canary.write(self.output, merged, self.rows, trust_remote_code=self.owner.trusts_code)
        return TrainResult(
            policy.source, policy.adapter, steps, len(self.rows.kept), self.rows.dropped, metrics, self.seconds
        )

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - began

    def prepare(self) -> None:
        """Tokenizer, rows, and the weights to start at."""
        from selfimprove.store.tables import read_examples

        request, source = self.request, models.local(self.request.start.source)
        encoder = rows.encoder_of(source, self.owner.model, request.max_tokens)
        self.tokenizer, ends = encoder.tokenizer, encoder.end_ids
        self.rows = rows.encode(request.objective, read_examples(Path(request.examples)), encoder)
        self.pad_id = next(iter([*_known(self.tokenizer.pad_token_id), *ends, 0]))
        self.how = self.loading(source)
        with self.settings.main_process_first(local=False):  # who comes later finds what the first one merged
            with sharded.alone():
                self.start = adapters.start_weights(request, self.how)
            if request.quantize:
                base = models.round_base(self.start.directory, self.how, self.output / adapters.BASE)
                self.start = replace(self.start, directory=base)

    def loading(self, source: Path) -> Loading:
        """Weights that are trained are held in float32; frozen ones as stored, where the arithmetic is not float32."""
        mixed = self.settings.bf16 or self.settings.fp16
        dtype = models.stored_dtype(source) if self.request.lora is not None and mixed else "float32"
        extra = tuple((self.settings.model_init_kwargs or {}).items())
        self.settings.model_init_kwargs = None
        kernel = models.attention(self.rows.longest, self.device.cuda)
        return Loading(dtype, kernel, extra, self.owner.trusts_code, self.request.quantize)

    def reference(self) -> list[tuple[float, float]]:
        """Reference log-probabilities of all rows; the model that gives them is gone when this returns."""
        from selfimprove.training import dpo

        dpo.check_losses(self.settings, self.rows)
        against = adapters.reference_weights(self.request, self.start)
        # another policy's base was not rounded to 4 bits when it was sampled from
        how = self.how if against == self.start else replace(self.how, quantize="")
        model = models.load(against, how)
        return dpo.reference_logprobs(
            model, self.rows, self.settings, self.pad_id, self.owner.config.get("batch_tokens")
        )

    def fit(self, trainer: Any) -> Any:
        """Run the training, from a checkpoint if there is one. Stopped if it was asked to stop on the way."""
        if not self.request.checkpoints or not (every := self.owner.config.get("save_every_minutes")):
            return trainer.train()
        per_step = options.rows_per_step(self.settings)
        told = checkpoints.identity(self.request, self.rows, per_step, sharded.form(trainer))
        keeper = checkpoints.Keeper(Path(self.request.checkpoints), told, 60 * every, self.request.output)
        trainer.args.output_dir = str(keeper.output)
        trainer.add_callback(checkpoints.callback(keeper, trainer))
        found = keeper.newest()
        outcome = trainer.train(resume_from_checkpoint=str(found) if found else None)
        if keeper.stopped:
            raise Stopped(f"training stopped at step {outcome.global_step}", hint="the same command continues there")
        own = outcome.global_step - trainer.started_at
        return outcome._replace(training_loss=(keeper.lost + outcome.training_loss * own) / outcome.global_step)

    def trainer(self, reference: list[tuple[float, float]] | None) -> Any:
        from selfimprove.training import dpo, sft

        lora = self.request.lora
        model = models.load(self.start, self.how, trainable=True)
        fresh = adapters.new_adapter(lora) if lora is not None and self.start.adapter is None else None
        exact = adapters.trained_tensors(model) if self.request.quantize else {}
        try:
            if reference is None:
                made = sft.trainer(model, self.settings, self.rows, self.tokenizer, self.pad_id, fresh)
            else:
                made = dpo.trainer(model, self.settings, self.rows, reference, self.tokenizer, self.pad_id, fresh)
        except ValueError as error:
            raise ConfigError(f"training.args or training.lora: TRL refuses them: {error}") from error
        if self.request.quantize:
            adapters.hold_in_float32(made.model, exact)
        sharded.keep_outputs_exact(made.accelerator, self.settings)
        self.spread(made)
        return made

    def spread(self, trainer: Any) -> None:
        """Have each batch computed in passes, as the config says. ConfigError where that would not be exact."""
        trainer.token_budget = self.owner.config.get("batch_tokens")
        trainer.packs = bool(self.owner.config.get("packing"))
        trainer.shards = sharded.is_sharded(trainer)
        if trainer.is_deepspeed_enabled and (trainer.packs or trainer.token_budget or self.request.objective == "dpo"):
            raise ConfigError(
                "training.launch: under DeepSpeed only supervised rows without batch_tokens and packing are trained",
                hint="set training.launch to fsdp2",
            )
        if trainer.packs and self.request.objective != "sft":
            raise ConfigError("training.packing is for supervised rows", hint="set training.batch_tokens instead")
        if trainer.packs:
            passes.check_packable(lean.bare_model(trainer.model))
        if trainer.token_budget and not getattr(trainer, "computed_here", True):
            raise ConfigError("training.batch_tokens: this loss of TRL's is computed on whole batches")

    def metrics(self, trainer: Any, outcome: Any) -> dict[str, float]:
        from selfimprove.training import dpo, sft

        names = sft.FIGURES if self.request.objective == "sft" else dpo.FIGURES
        found = lean.figures(trainer.state.log_history, names)
        found |= {"mean_loss": float(outcome.training_loss), "trained_tokens": float(self.rows.trained_tokens)}
        found |= {"processes": float(self.settings.world_size), "rows_per_step": options.rows_per_step(self.settings)}
        if self.request.objective == "dpo":
            found["reference_gap"] = trainer.reference_gap
        return found

    def save(self, model: Any, weights: Mapping[str, Any] | None) -> Policy:
        """Write what was trained; the policy names where it lies, and has no digest yet.

        ``weights`` are the whole tensors of a model that lies in shards, or None.
        """
        if self.request.lora is None:
            models.save(model, self.start.directory, self.output / adapters.MODEL, weights)
            return Policy(str(self.output / adapters.MODEL), "")
        models.save_adapter(model, self.output / adapters.ADAPTER, weights)
        merged = Path(self.output, adapters.BASE)
        source = str(merged) if self.start.directory == merged else self.request.start.source
        return Policy(source, "", adapter=str(self.output / adapters.ADAPTER))


def _known(token: int | None) -> list[int]:
    return [] if token is None else [token]


def _set_threads(threads: int | None) -> None:
    """The number of threads decides the order of sums, so it is set here and not left to who started the process."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def _free() -> None:
    """Give a training's memory back before the next one, or before whatever else needs the device."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
