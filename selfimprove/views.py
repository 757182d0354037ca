"""Views: what the policy is shown instead of the bare prompt.

Contract: pure functions from a problem to messages; a view never reaches a training row. The name of the returned
function is stored with each sample.

See it work: ``selfimprove recipes show star``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from selfimprove.types import Message, Problem

View = Callable[[Problem], tuple[Message, ...]]


def hint(template: str) -> View:
    """The answer shown beside the question: ``template`` has ``{prompt}`` and ``{answer}``.

    It is applied to the last message (the question). Source: STaR's rationalisation, arXiv 2203.14465, section 3.2.
    """

    def hinted(problem: Problem) -> tuple[Message, ...]:
        last = problem.prompt[-1]
        text = template.replace("{prompt}", last.content).replace("{answer}", str(problem.answer))
        return (*problem.prompt[:-1], Message(last.role, text))

    return hinted


def few_shot(examples: Sequence[Problem], inner: View | None = None) -> View:
    """Worked examples before the question: earlier turns of a chat, or text blocks divided by a blank line.

    ``examples`` need demonstrations; ``inner`` is another view applied to examples and question alike.
    """

    def shown(problem: Problem) -> tuple[Message, ...]:
        return inner(problem) if inner else problem.prompt

    def shots(problem: Problem) -> tuple[Message, ...]:
        question = shown(problem)
        if question[-1].role == "text":
            blocks = [shown(e)[-1].content + (e.demonstration or "") for e in examples]
            return (Message("text", "\n\n".join([*blocks, question[-1].content])),)
        turns = [(*shown(e), Message("assistant", e.demonstration or "")) for e in examples]
        return (*(message for turn in turns for message in turn), *question)

    return shots if examples else inner or shown
