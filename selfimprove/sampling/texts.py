"""Token ids to text and back to a cut: what a completion says, and which of its ids say it.

Contract: text is decoded as the continuation of the prompt, so that prompt and completion concatenate without a lost
or an invented space. A completion cut at a stop string keeps the ids whose text does not run past the cut.

See it work: ``pytest tests/sampling/test_texts.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

CONTEXT = 8  # prompt tokens decoded with a completion: enough for any decoder to know that it is not at a start
REPLACEMENT = "\ufffd"


class Decoder:
    """Decodes completions with a transformers tokenizer. ``fast`` says whether it has a Rust backend."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._backend = getattr(tokenizer, "backend_tokenizer", None)
        self._special = frozenset(tokenizer.all_special_ids)
        self.fast = self._backend is not None

    def text(self, prompt_ids: Sequence[int], ids: Sequence[int], skip_special: bool = True) -> str:
        """``ids`` as the continuation of ``prompt_ids``; an unfinished character at the end is left out."""
        assert self._backend is not None
        context = list(prompt_ids[-CONTEXT:])
        before = self._backend.decode(context, skip_special_tokens=skip_special)
        both = self._backend.decode([*context, *ids], skip_special_tokens=skip_special)
        if not both.startswith(before):
            both, before = self._backend.decode(list(ids), skip_special_tokens=skip_special), ""
        return str(both[len(before) :].rstrip(REPLACEMENT))

    def kept(self, prompt_ids: Sequence[int], ids: Sequence[int], text: str, skip_special: bool = True) -> int:
        """How many leading ``ids`` spell no more than ``text``: where to cut what ran into a stop string.

        A token that holds the end of the text *and* the start of the stop string is cut off.
        """
        ends = self._ends(prompt_ids, ids, skip_special)
        kept = len(ids)
        while kept and ends[kept - 1] > len(text):
            kept -= 1
        # A token without text here is the first bytes of a character beyond the cut, unless it is a special one.
        while kept and ends[kept - 1] == (ends[kept - 2] if kept > 1 else 0) and ids[kept - 1] not in self._special:
            kept -= 1
        return kept

    def _ends(self, prompt_ids: Sequence[int], ids: Sequence[int], skip_special: bool) -> list[int]:
        """The length of the text after each of ``ids``."""
        if self._backend is None:
            decode = self._tokenizer.decode
            return [len(decode(list(ids[: n + 1]), skip_special_tokens=skip_special)) for n in range(len(ids))]
        from tokenizers.decoders import DecodeStream

        stream = DecodeStream(ids=list(prompt_ids), skip_special_tokens=skip_special)
        ends, length = [], 0
        for token in ids:
            length += len(stream.step(self._backend, token) or "")
            ends.append(length)
        return ends
