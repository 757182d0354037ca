"""Asking a model to judge: questions, replies, and what is made of them.

Contract: pure; nothing heavy is imported.

See it work: ``pytest tests/judging``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from selfimprove.types import Message


@dataclass(frozen=True, slots=True)
class Question:
    """One call of a judging model. With ``continuation`` nothing is sampled: that text's log-probability is asked."""

    prompt: str | tuple[Message, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    continuation: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: ``text`` of a sampled reply, ``logprob`` (nats) of a scored one; ``finish`` as of a sample."""

    text: str | None
    finish: str
    logprob: float | None = None
