"""Supervised finetuning with a weight per row: TRL's trainer with another sum.

Contract: the loss is the mean over all completion tokens of the optimiser step's rows of ``weight x -log p(token)``;
accumulated micro-batches and all processes share one count of tokens, so that splitting a batch changes nothing. With
weights of one the loss is `trl.SFTTrainer`'s, bit for bit. A negative weight pushes a row down.

See it work: ``pytest tests/training/test_sft.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from selfimprove.training.lean import Lean, bare_model, index_dataset, quiet
from selfimprove.training.passes import Passes, spare_rows
from selfimprove.training.rows import Collator, Rows


@cache
def weighted_trainer() -> type:
    """The trainer class (made on first use: it imports TRL)."""
    import torch
    from trl import SFTTrainer
    from trl.trainer.utils import add_fused_lm_head

    class WeightedSFTTrainer(Passes, Lean, SFTTrainer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            # TRL's own head also measures entropy and accuracy on every step, which costs more than the loss here
            add_fused_lm_head(bare_model(self.model), outputs=("log_probs",))

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            weight = inputs.pop("weight")
            weight = weight[:, None] if weight.dim() == 1 else weight[:, 1:]  # of each row, or of each token
            if self.aux_loss_enabled:
                inputs["output_router_logits"] = True
            out = model(**inputs, use_cache=False, fused_lm_head=True)
            token_loss = -out.log_probs
            if self.args.loss_type == "dft":
                token_loss = token_loss * out.log_probs.exp().detach()
            here = out.label_mask.sum() if self.whole is None else self.whole
            tokens = here if num_items_in_batch is None else num_items_in_batch
            loss = (token_loss * weight).sum() / torch.as_tensor(tokens).clamp(min=1)
            if num_items_in_batch is not None and self.args.average_tokens_across_devices:
                loss = loss * self.accelerator.num_processes  # the count is of all processes, the gradient their mean
            if self.aux_loss_enabled:
                steps = self.current_gradient_accumulation_steps if num_items_in_batch is not None else 1
                loss = loss + self.share * self.router_aux_loss_coef * out.aux_loss / steps
            return self.watched(loss)

    return WeightedSFTTrainer


class SFTCollator(Collator):
    """Batches with ``labels``: completion ids, everything else masked."""

    def __call__(self, examples: Any) -> dict[str, Any]:
        batch = super().__call__(examples)
        batch["labels"] = batch["input_ids"].masked_fill(batch.pop("completion_mask") == 0, -100)
        return batch


def trainer(model: Any, settings: Any, rows: Rows, tokenizer: Any, pad_id: int, peft_config: Any = None) -> Any:
    """A trainer ready to run over ``rows``."""
    made = weighted_trainer()(
        model=model,
        args=settings,
        train_dataset=index_dataset([row.length for row in rows.kept], spare_rows(rows, settings)),
        data_collator=SFTCollator(rows, pad_id, settings.pad_to_multiple_of),
        processing_class=tokenizer,
        peft_config=peft_config,
    )
    quiet(made)
    return made


FIGURES: Mapping[str, str] = {"loss": "loss", "grad_norm": "grad_norm"}
