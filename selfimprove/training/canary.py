"""A canary: one sequence's log-probabilities under the weights on disk, for whoever serves them to check against.

Contract: measured in float32 on a model loaded from the files that were just written, adapter merged in. ``ids`` is
the sequence, ``prompt_len`` its prompt's length, ``logprobs[i]`` (nats) belongs to ``ids[prompt_len + i]``.

See it work: ``pytest tests/training/test_canary.py``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfimprove.training import models
from selfimprove.training.models import Loading, Weights
from selfimprove.training.rows import Row, Rows

FILE = "canary.json"
TOKENS = 64
COMPLETION_TOKENS = 48
CANDIDATES = 64


def choose(rows: Rows) -> tuple[list[int], int]:
    """(ids, prompt_len): of the first rows, the one with the longest completion, cut to `TOKENS` around its start."""
    row = max(rows.kept[:CANDIDATES], key=_completion_tokens)
    ids, prompt_len = row.sequences[0].tolist(), row.prompt_len
    completion = ids[prompt_len : prompt_len + COMPLETION_TOKENS]
    prompt = ids[max(0, prompt_len - (TOKENS - len(completion))) : prompt_len]
    if not prompt:
        prompt, completion = completion[:1], completion[1:]
    return [*prompt, *completion], len(prompt)


def _completion_tokens(row: Row) -> int:
    return min(len(row.sequences[0]) - row.prompt_len, COMPLETION_TOKENS)


def logprobs(weights: Weights, ids: Sequence[int], prompt_len: int, how: Loading) -> list[float]:
    """Log-probabilities of ``ids[prompt_len:]`` under weights loaded from files in float32."""
    import torch

    model: Any = models.load(weights, how).eval()
    with torch.no_grad():
        scores = model(input_ids=torch.tensor([ids])).logits[0, prompt_len - 1 : -1].float().log_softmax(dim=-1)
    return scores.gather(1, torch.tensor(ids[prompt_len:])[:, None])[:, 0].tolist()


def write(output: Path, weights: Weights, rows: Rows, *, trust_remote_code: bool = False) -> None:
    """Measure and write ``canary.json`` into ``output``."""
    ids, prompt_len = choose(rows)
    how = Loading("float32", trust_remote_code=trust_remote_code)
    values = logprobs(weights, ids, prompt_len, how)
    text = json.dumps({"ids": ids, "prompt_len": prompt_len, "logprobs": values})
    (output / FILE).write_text(text + "\n", encoding="utf-8")
