"""The completion matches a regular expression, and others not: formats, tags, forbidden words.

Contract: ``matches`` must each be found and ``forbidden`` none; ``whole`` asks for a match of the whole completion.
``tags`` are names of tags that must each occur once, closed, in that order, with nothing before, between or after
them. A pattern that backtracks without end is ended with the worker's deadline: an error, since the pattern is at
fault.

See it work: ``selfimprove run CONFIG verifier.name=text_format 'verifier.args={matches: ["^[0-9]+$"]}'``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from selfimprove import Problem, Sample, Verdict, failing, passing


class text_format:
    """Raises ValueError if nothing is asked, or for what is no regular expression."""

    def __init__(
        self,
        matches: Sequence[str] = (),
        forbidden: Sequence[str] = (),
        tags: Sequence[str] = (),
        whole: bool = False,
    ) -> None:
        if not (matches or forbidden or tags):
            raise ValueError("text_format: give matches, forbidden or tags")
        try:
            self.matches = [re.compile(text, re.S) for text in matches]
            self.forbidden = [re.compile(text, re.S) for text in forbidden]
        except re.error as error:
            raise ValueError(f"text_format: {error.pattern!r} is no regular expression: {error}") from error
        self.tags, self.whole = tuple(tags), whole

    def __call__(self, problem: Problem, sample: Sample) -> Verdict:
        text = sample.prefix + sample.completion
        for wanted in self.matches:
            if not (wanted.fullmatch(text) if self.whole else wanted.search(text)):
                return failing(f"nothing matches {wanted.pattern[:100]!r}")
        for refused in self.forbidden:
            if refused.search(text):
                return failing(f"something matches {refused.pattern[:100]!r}")
        return failing(why) if (why := self._untagged(text)) else passing()

    def _untagged(self, text: str) -> str:
        """What is wrong with the tags; "" if nothing."""
        place = 0
        for tag in self.tags:
            opening, closing = f"<{tag}>", f"</{tag}>"
            if text.count(opening) != 1 or text.count(closing) != 1:
                return f"{opening} does not stand there once, closed once"
            start, end = text.index(opening), text.index(closing)
            if start < place or end < start or text[place:start].strip():
                return f"{opening} is not where it belongs"
            place = end + len(closing)
        return "text after the last tag" if self.tags and text[place:].strip() else ""
