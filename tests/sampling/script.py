"""Scripts for the scripted sampler."""

from __future__ import annotations

from selfimprove.types import Finish, Message


def constant(messages: tuple[Message, ...], index: int, seed: int, policy: str) -> str:
    return "the answer is 4"


def telling(messages: tuple[Message, ...], index: int, seed: int, policy: str) -> str | tuple[str, Finish]:
    text = f"{messages[-1].content}|{index}|{seed}|{policy}"
    return (text, "length") if index == 1 else text


def slow(messages: tuple[Message, ...], index: int, seed: int, policy: str) -> str:
    import time

    time.sleep(0.02)
    return "late"
