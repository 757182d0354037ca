"""Models with a head that scores texts: reward models, and process reward models that score steps.

Contract: loaded with transformers from a directory or a hub id; exact, so texts are padded only if the tokenizer has a
token for that alone. A text that does not fit the model's context raises ValueError; nothing is cut.

See it work: ``pytest tests/verifiers/test_models.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from selfimprove.errors import PreconditionError
from selfimprove.prompts import conversation
from selfimprove.types import Message, text_of


class Scorer:
    """A model and its tokenizer. ``task`` is the transformers class: ``SequenceClassification``, ``CausalLM``, ..."""

    def __init__(self, model: str, task: str, device: str, dtype: str, batch: int) -> None:
        import torch
        import transformers

        if batch < 1:
            raise ValueError(f"batch is {batch}; it must be from 1 on")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cpu":
            torch.set_num_threads(os.cpu_count() or 1)
        self.batch, self.device = batch, device
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(model)
            loader = getattr(transformers, f"AutoModelFor{task}")
            loaded, report = loader.from_pretrained(model, dtype=dtype, output_loading_info=True)
        except (OSError, ValueError) as error:
            kind = "directory" if Path(model).exists() else "directory, nor a model that can be fetched"
            raise PreconditionError(
                f"{model}: no {task} model ({error})"[:500], hint=f"give a {kind} with config.json and weights"
            ) from error
        if report["missing_keys"]:  # transformers would go on with random ones
            lacking = ", ".join(sorted(report["missing_keys"])[:3])
            raise PreconditionError(f"{model}: its weights lack {lacking}", hint=f"it is no {task} model")
        self.model = loaded.to(device).eval()
        self.context = getattr(self.model.config, "max_position_embeddings", None)
        pad, end = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        self.pad = pad if pad is not None and pad != end and pad == self.model.config.pad_token_id else None

    def ids(self, prompt: Sequence[Message], completion: str) -> list[int]:
        """Token ids of a question and its answer: by the model's chat template, or joined by a line if it has none."""
        if self.tokenizer.chat_template:
            rows = conversation(prompt)[0]
            rows.append({"role": "assistant", "content": completion})
            said = self.tokenizer.apply_chat_template(rows, tokenize=True, return_dict=True)
            return list(said["input_ids"])
        text = "\n".join([text_of(prompt), completion])
        return list(self.tokenizer(text)["input_ids"])

    def checked(self, ids: Sequence[int]) -> None:
        """ValueError if ``ids`` are more than the model can read."""
        if self.context and len(ids) > self.context:
            raise ValueError(f"{len(ids)} tokens; the scoring model reads {self.context}")

    def logits(self, rows: Sequence[Sequence[int]]) -> Iterator[tuple[int, Any]]:
        """(place, its logits) for each row of ids, in any order: (labels,) or (tokens, labels), float32."""
        import torch

        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        size = self.batch if self.pad is not None else 1
        for start in range(0, len(order), size):
            places = order[start : start + size]
            longest = max(len(rows[place]) for place in places)
            ids = torch.full((len(places), longest), self.pad or 0)
            mask = torch.zeros_like(ids)
            for line, place in enumerate(places):
                ids[line, : len(rows[place])] = torch.tensor(rows[place])
                mask[line, : len(rows[place])] = 1
            with torch.inference_mode():
                found = self.model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device)).logits
            for line, place in enumerate(places):
                own = found[line].float().cpu()
                yield place, own if own.dim() == 1 else own[: len(rows[place])]
