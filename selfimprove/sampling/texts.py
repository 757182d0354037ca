"""Token ids to text and back to a cut: what a completion says, and which of its ids say it.

Contract: text is decoded as the continuation of the prompt, so that prompt and completion concatenate without a lost
or an invented space. A completion cut at a stop string keeps the ids whose text does not run past the cut.

See it work: ``pytest tests/sampling/test_texts.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from selfimprove.prompts import Rendered
from selfimprove.types import Turn

Pieces = Sequence[str]


def spans(
    thinking: Mapping[str, Any], prompt: str, pieces: Pieces, shown: Callable[[int], int]
) -> tuple[bool, tuple[Turn, ...]]:
    """Whether a response's thinking is closed, and the response's spans; no spans if it does not think.

    ``thinking`` is a `ThinkingConfig` as a dictionary, ``pieces`` holds what each token adds to the text with special
    tokens in it, ``shown(n)`` the length of the first n tokens' text as the sample has it. The opening tag may stand
    at the end of the prompt.
    """
    whole, start, end = "".join(pieces), thinking["start"], thinking["end"]
    if not (whole.lstrip().startswith(start) or prompt.rstrip().endswith(start)):
        return True, ()
    trained, size = thinking["train_on"] == "all", len(pieces)
    place = whole.find(end)
    if place < 0:
        return False, (Turn("thinking", 0, size, trained, shown(size)),)
    cut, length = 0, 0
    while length < place + len(end):
        length += len(pieces[cut])
        cut += 1
    spoken = Turn("assistant", cut, size, True, shown(size))
    return True, (Turn("thinking", 0, cut, trained, shown(cut)), spoken)


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
        return list(accumulate(map(len, self.pieces(prompt_ids, ids, skip_special))))

    def spans(
        self, thinking: Mapping[str, Any], prompt: Rendered, ids: Sequence[int], skip_special: bool
    ) -> tuple[bool, tuple[Turn, ...]]:
        """As the function `spans`, of a response in ``ids`` whose text was made with or without special tokens."""
        ends = [0, *self._ends(prompt.ids, ids, skip_special)]
        return spans(thinking, prompt.text, self.pieces(prompt.ids, ids, False), ends.__getitem__)

    def pieces(self, prompt_ids: Sequence[int], ids: Sequence[int], skip_special: bool) -> list[str]:
        """What each of ``ids`` adds to the text."""
        if self._backend is None:
            texts = [
                self._tokenizer.decode(list(ids[:n]), skip_special_tokens=skip_special) for n in range(len(ids) + 1)
            ]
            return [later[len(before) :] for before, later in pairwise(texts)]
        from tokenizers.decoders import DecodeStream

        stream = DecodeStream(ids=list(prompt_ids), skip_special_tokens=skip_special)
        return [stream.step(self._backend, token) or "" for token in ids]
