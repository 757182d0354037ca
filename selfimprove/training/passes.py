"""One batch in several passes: as many tokens at once as memory takes, and the gradient of the whole batch.

Contract: rows are sorted by length and cut into passes of at most ``budget`` tokens, padding included; a row that is
longer goes alone. Losses are normalised by the whole batch, so that where it is cut changes nothing but rounding.
*Packed*, the rows of a pass stand behind each other with positions of their own and do not see each other; a model that
carries a state from token to token cannot be packed, and is refused.

See it work: ``pytest tests/training/test_passes.py``.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from selfimprove.errors import ConfigError
from selfimprove.training.rows import Rows

if TYPE_CHECKING:
    from torch import Tensor

Batch = dict[str, "Tensor"]


def cut(lengths: Sequence[int], budget: int, sides: int = 1, multiple: int = 1) -> list[list[int]]:
    """Row numbers of each pass. ``sides`` sequences belong to a row; widths are rounded up to ``multiple``."""
    passes: list[list[int]] = []
    width = 0
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if not passes or (len(passes[-1]) + 1) * width * sides > budget:
            passes.append([])
            width = math.ceil(lengths[row] / multiple) * multiple
        passes[-1].append(row)
    return passes


def part(batch: Batch, rows: Sequence[int], width: int) -> Batch:
    """The given rows of a batch (of every side), ``width`` tokens wide."""
    import torch

    count = len(batch["weight"])
    found = {}
    for name, tensor in batch.items():
        sides = len(tensor) // count
        places = torch.tensor([side * count + row for side in range(sides) for row in rows], device=tensor.device)
        chosen = tensor.index_select(0, places)
        found[name] = chosen[:, :width] if chosen.dim() == 2 else chosen
    return found


def packed(batch: Batch) -> Batch:
    """The rows of a batch behind each other as one sequence: ``weight`` is one figure per token then."""
    import torch

    mask = batch["attention_mask"].bool()
    labels = batch["labels"].clone()
    labels[:, 0] = -100  # the first token of a row follows on nothing
    positions = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    spread = batch["weight"][:, None].expand(mask.shape)
    whole = {"input_ids": batch["input_ids"], "labels": labels, "position_ids": positions, "weight": spread}
    return {name: tensor[mask][None] for name, tensor in whole.items()}


def check_packable(model: Any) -> None:
    """ConfigError for a model whose rows would not be computed as if each were alone."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    others = sorted(kinds - {"full_attention", "sliding_attention", "chunked_attention"})
    if others or getattr(model, "_is_stateful", False):
        what = f"training.packing: {type(model).__name__} carries {', '.join(others) or 'a state'} from row to row"
        raise ConfigError(what, hint="set training.packing=false")


def spare_rows(rows: Rows, settings: Any) -> int:
    """How many rows without effect fill up an epoch of several processes: else some would be trained on twice."""
    if settings.world_size == 1 or settings.train_sampling_strategy != "random":
        return 0
    return -len(rows.kept) % int(settings.per_device_train_batch_size * settings.world_size)


def _filled(real: int, spare: int, seed: int) -> Any:
    """A sampler: ``real`` rows in the order of accelerate's seeded one, then the spare ones."""
    import torch
    from torch.utils.data import Sampler

    class Filled(Sampler[int]):
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __iter__(self) -> Iterator[int]:
            generator = torch.Generator().manual_seed(self.epoch + seed)
            yield from torch.randperm(real, generator=generator).tolist()
            yield from range(real, real + spare)
            self.epoch += 1

        def __len__(self) -> int:
            return real + spare

    return Filled()


class Passes:
    """Mixin of a trainer: computes each batch in passes of at most ``token_budget`` tokens (None: in one).

    ``whole`` counts the scored tokens of a supervised batch, by which the losses of its passes are divided where the
    trainer gives no count; ``share`` is the pass's share of its rows. ``step_counts`` are pairs, and scored tokens of
    chosen answers, in an optimiser step over all processes, for one of them and one of its batches.
    """

    args: Any
    accelerator: Any
    train_dataset: Any
    token_budget: int | None = None
    packs = False
    shards = False
    whole: Tensor | None = None
    share = 1.0
    step_counts = (1.0, 1.0)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """The order that one process would take, filled up at its end so that all processes have as many rows."""
        sampler = super()._get_train_sampler(train_dataset)  # type: ignore[misc]
        rows = (train_dataset or self.train_dataset)["row"]
        spare = sum(row < 0 for row in rows)
        return _filled(len(rows) - spare, spare, self.args.data_seed or self.args.seed) if spare else sampler

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        """Besides the tokens of supervised rows, the pairs of a step: a mean of means depends on how it is split."""
        if batch_samples and "real" in batch_samples[0]:
            import torch

            masks = [batch["completion_mask"][:, 1:].chunk(2)[0].sum() for batch in batch_samples]
            counts = torch.stack([sum(batch["real"].sum() for batch in batch_samples), sum(masks)]).double()
            total = self.accelerator.gather(counts.to(device)[None]).sum(dim=0) if self.args.world_size > 1 else counts
            pairs, scored = (total / (self.args.world_size * len(batch_samples))).tolist()
            self.step_counts = pairs, max(scored, 1e-9)
        return super()._get_num_items_in_batch(batch_samples, device)  # type: ignore[misc]

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> Tensor:
        step = super().training_step  # type: ignore[misc]
        if self.token_budget is None and not self.packs:
            return step(model, inputs, num_items_in_batch=num_items_in_batch)
        inputs = self._prepare_inputs(inputs)  # type: ignore[attr-defined]
        batches = self._cut(inputs)
        rows = len(inputs["weight"])
        self.whole = (inputs["labels"][:, 1:] != -100).sum() if "labels" in inputs else None
        total: Any = 0.0
        try:
            for number, (batch, count) in enumerate(batches):
                self.share = count / rows
                last = number == len(batches) - 1
                with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                    total = total + step(model, batch, num_items_in_batch=num_items_in_batch)
        finally:
            self.whole, self.share = None, 1.0
        return total

    def _cut(self, inputs: Batch) -> list[tuple[Batch, int]]:
        """The batches of all passes, each with how many rows of the whole it holds."""
        count, multiple = len(inputs["weight"]), self.args.pad_to_multiple_of or 1
        sides = len(inputs["input_ids"]) // count
        lengths = inputs["attention_mask"].sum(dim=1).view(sides, count).amax(dim=0).tolist()
        budget = self.token_budget or sum(lengths) * sides + inputs["input_ids"].numel()
        found = []
        for rows in cut(lengths, budget, sides, multiple):
            width = math.ceil(max(lengths[row] for row in rows) / multiple) * multiple
            found.append((part(inputs, rows, width), len(rows)))
        spare = found[-1][0]
        for _ in range(self._most(len(found)) - len(found)):  # the others are not done: go along without effect
            found.append(({**spare, "weight": spare["weight"] * 0}, 0))
        return [(packed(batch), rows) if self.packs else (batch, rows) for batch, rows in found]

    def _most(self, count: int) -> int:
        """The largest count of any process, where every pass needs them all."""
        if not self.shards or self.args.world_size == 1:
            return count
        import torch

        most = torch.tensor(count, device=self.args.device)
        torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
        return int(most)
