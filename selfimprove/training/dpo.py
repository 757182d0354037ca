"""Preference training on token ids, with a weight per pair and an explicit reference policy.

Contract: reference log-probabilities are computed once, before training, with the policy named as reference, loaded
as its own model and freed again. TRL would take the reference from the path of the model it is given, or, with a
new adapter, from the base under it. The loss is the mean over the pairs of an optimiser step of
``weight x loss(pair)`` (of ``sft``: over the step's tokens), however the step is split, with TRL's formula for each
``loss_type``; the types and options that are only TRL's run in TRL's code and take pairs of weight one.

See it work: ``pytest tests/training/test_dpo.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

from selfimprove.errors import ConfigError
from selfimprove.training import sharded
from selfimprove.training.lean import Lean, bare_model, index_dataset, quiet
from selfimprove.training.passes import Passes, cut, spare_rows
from selfimprove.training.rows import Collator, Rows

if TYPE_CHECKING:
    from torch import Tensor

Deltas = tuple["Tensor", "Tensor", "Tensor", "Tensor"]


def _margin(deltas: Deltas) -> Tensor:
    chosen, rejected, _, _ = deltas
    return chosen - rejected


def _sigmoid(deltas: Deltas, args: Any) -> Tensor:
    from torch.nn.functional import logsigmoid

    return -logsigmoid(args.beta * _margin(deltas))


def _hinge(deltas: Deltas, args: Any) -> Tensor:
    return (1 - args.beta * _margin(deltas)).relu()


def _ipo(deltas: Deltas, args: Any) -> Tensor:
    chosen, rejected, chosen_tokens, rejected_tokens = deltas
    per_token = chosen / chosen_tokens.clamp(min=1) - rejected / rejected_tokens.clamp(min=1)
    return (per_token - 1 / (2 * args.beta)) ** 2


def _robust(deltas: Deltas, args: Any) -> Tensor:
    from torch.nn.functional import logsigmoid

    reward, flipped = args.beta * _margin(deltas), args.label_smoothing
    return (-(1 - flipped) * logsigmoid(reward) + flipped * logsigmoid(-reward)) / (1 - 2 * flipped)


PAIR_LOSSES: Mapping[str, Callable[[Deltas, Any], Tensor]] = {
    "sigmoid": _sigmoid,
    "hinge": _hinge,
    "ipo": _ipo,
    "robust": _robust,
}
WEIGHTED = (*PAIR_LOSSES, "sft")


def check_losses(settings: Any, rows: Rows) -> bool:
    """Whether the loss is computed here. ConfigError for weighted pairs with a loss that is only TRL's."""
    only_trl = [name for name in settings.loss_type if name not in WEIGHTED]
    only_trl += [f"f_divergence_type={settings.f_divergence_type}"] * (settings.f_divergence_type != "reverse_kl")
    only_trl += ["use_weighting"] * bool(settings.use_weighting)
    if only_trl and any(row.weight != 1 for row in rows.kept):
        raise ConfigError(
            f"pairs have weights, and {only_trl[0]} knows none",
            hint=f"choose training.args.loss_type among {', '.join(WEIGHTED)}, or give every pair the weight 1",
        )
    return not only_trl


def sequence_logprobs(model: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Log-probabilities (nats) of the completion tokens: (sequences, tokens - 1), zero elsewhere, and their sums."""
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    out = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        labels=labels,
        use_cache=False,
        fused_lm_head=True,
    )
    return out.log_probs, out.log_probs.float().sum(dim=1)


def reference_logprobs(
    model: Any, rows: Rows, settings: Any, pad_id: int, budget: int | None = None
) -> list[tuple[float, float]]:
    """(chosen, rejected) log-probability of each row under ``model``, computed in the precision of training.

    ``budget``: as many tokens at once as in training; without it, as many rows.
    """
    import torch
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(bare_model(model), outputs=("log_probs",))
    device, world = settings.device, settings.world_size
    whole = model
    model = sharded.shard(model, settings)
    if model is whole:
        model.to(device)
    model.eval()
    dtype = torch.bfloat16 if settings.bf16 else torch.float16
    rounds = (settings.bf16 or settings.fp16) and not sharded.has_policy(model)
    mixed = torch.autocast(device.type, dtype) if rounds else nullcontext()
    collator = Collator(rows, pad_id, settings.pad_to_multiple_of)
    size = settings.precompute_ref_batch_size or settings.per_device_train_batch_size
    lengths = [row.length for row in rows.kept]
    parts = [list(range(at, min(at + size, len(lengths)))) for at in range(0, len(lengths), size)]
    parts = cut(lengths, budget, sides=2, multiple=settings.pad_to_multiple_of or 1) if budget else parts
    found: list[tuple[int, float, float]] = []
    with torch.no_grad(), mixed:
        for number in sharded.in_turn(len(parts), world, settings.process_index):
            batch = collator.batch(parts[number])
            _, sums = sequence_logprobs(model, {name: tensor.to(device) for name, tensor in batch.items()})
            found += zip(parts[number], *(half.tolist() for half in sums.float().chunk(2)), strict=True)
    known = {number: (chosen, rejected) for number, chosen, rejected in sharded.everyones(found, world)}
    return [known[number] for number in range(len(rows.kept))]


class PairCollator(Collator):
    """Batches with the reference's log-probabilities, under TRL's names for them."""

    def __init__(self, rows: Rows, reference: Sequence[tuple[float, float]], pad_id: int, multiple: int | None) -> None:
        super().__init__(rows, pad_id, multiple)
        self.reference = reference

    def __call__(self, examples: Any) -> dict[str, Any]:
        import torch

        batch = super().__call__(examples)
        places = [example["row"] for example in examples]
        known = torch.tensor([self.reference[at] if at >= 0 else (0.0, 0.0) for at in places], dtype=torch.float32)
        batch["ref_chosen_logps"], batch["ref_rejected_logps"] = known.unbind(dim=1)
        batch["real"] = torch.tensor([float(at >= 0) for at in places])
        return batch


@cache
def pair_trainer() -> type:
    """The trainer class (made on first use: it imports TRL)."""
    import torch
    from trl import DPOTrainer
    from trl.trainer.utils import add_fused_lm_head

    class PairTrainer(Passes, Lean, DPOTrainer):
        reference_gap: float | None = None

        def __init__(self, *args: Any, computed_here: bool, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.precompute_ref_logps = True
            self.computed_here = computed_here and not self.aux_loss_enabled
            if "ref" in getattr(self.model, "peft_config", {}):
                self.model.delete_adapter("ref")
            if self.computed_here:
                add_fused_lm_head(bare_model(self.model), outputs=("log_probs",))

        def _prepare_dataset(self, dataset: Any, *rest: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, dataset: Any, *rest: Any) -> Any:
            return dataset

        def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
            if self.reference_gap is None:
                with torch.no_grad():
                    ratios = torch.cat(self._ratios(sequence_logprobs(model, inputs)[1], inputs))
                self.reference_gap = float(ratios.abs().max())
            if self.computed_here:
                return self.watched(self._pair_loss(model, inputs))
            inputs.pop("weight")
            inputs.pop("real")
            return self.watched(super()._compute_loss(model, inputs, return_outputs))

        def _ratios(self, sums: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
            chosen, rejected = sums.chunk(2)
            return chosen - inputs["ref_chosen_logps"], rejected - inputs["ref_rejected_logps"]

        def _pair_loss(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
            token_logprobs, sums = sequence_logprobs(model, inputs)
            ratios, weight = self._ratios(sums, inputs), inputs["weight"]
            pairs, scored = self.step_counts
            tokens = inputs["completion_mask"].sum(dim=1).chunk(2)
            loss = torch.zeros((), device=sums.device)
            for name, share in zip(self.loss_types, self.loss_weights, strict=True):
                if name == "sft":
                    chosen = token_logprobs.chunk(2)[0]
                    loss = loss - share * (chosen * weight[:, None]).sum() / scored
                else:
                    loss = loss + share * (PAIR_LOSSES[name]((*ratios, *tokens), self.args) * weight).sum() / pairs
            margins = self.beta * (ratios[0] - ratios[1]).detach()[inputs["real"] > 0]
            if not len(margins):  # rows that only fill up a batch
                return loss
            self._metrics["train"]["rewards/margins"].append(margins.mean().item())
            self._metrics["train"]["rewards/accuracies"].append((margins > 0).float().mean().item())
            return loss

    return PairTrainer


def trainer(
    model: Any,
    settings: Any,
    rows: Rows,
    reference: Sequence[tuple[float, float]],
    tokenizer: Any,
    pad_id: int,
    peft_config: Any = None,
) -> Any:
    """A trainer ready to run over ``rows``, whose reference log-probabilities are known."""
    # without an adapter, TRL would load a reference of its own unless it is told that the figures exist already
    settings.precompute_ref_log_probs = peft_config is None and bare_model(model) is model
    computed_here = check_losses(settings, rows)
    made = pair_trainer()(
        model=model,
        args=settings,
        train_dataset=index_dataset(
            [row.length for row in rows.kept], spare_rows(rows, settings) if computed_here else 0
        ),
        data_collator=PairCollator(rows, reference, pad_id, settings.pad_to_multiple_of),
        processing_class=tokenizer,
        peft_config=peft_config,
        computed_here=computed_here,
    )
    quiet(made)
    return made


FIGURES: Mapping[str, str] = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "rewards/margins": "reward_margin",
    "rewards/accuracies": "reward_accuracy",
}
