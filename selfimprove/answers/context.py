r"""What the words around an answer do to it: deny it, take it back, join it with another, conclude with it.

Contract: pure; every function looks at a bounded stretch of text.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

import re
from typing import Literal

from selfimprove.text import quantity

MAX_GAP = 400


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


_TAKEN_BACK = re.compile(
    r"\b(?:wait|no|actually|correct\w*|sorry|instead|wrong|incorrect|mistake|oops|rather|re-?check\w*|reflection)\b",
    re.I,
)
_DRESS = r"[\s$\\({\[:*\"'=]*$"
_FILL = r"(?:(?:equal|equals|to|be|the|a|an|simply|just|answer|is|value|of|really|exactly|number|final|x)\b\s*){0,6}"
_DENIED = re.compile(
    r"(?:(?:\b(?:not|never|nor|neither|cannot|other\s+than|except|rather\s+than|instead\s+of)\b|n['\u2019]t\b|\\neq?\b"
    r"|\\not\b|\u2260|!=)\s*[$\\({=]*\s*"
    + _FILL
    + r"|\b(?:wrong|incorrect|false|mistaken)\s+(?:\w+\s+){0,2}(?:is\s*|was\s*|:\s*)?"
    r"|\b(?:if|suppose|assum\w+|imagine|whether)\s+(?:that\s+)?(?:the\s+)?(?:\w+\s+){0,2}(?:is|was|were|be)\s*"
    r"|~~|\\(?:[xb]?cancel|sout|st|[hv]?phantom)\s*\{)" + _DRESS,
    re.I,
)
_DENIED_STATEMENT = re.compile(
    r"(?:\b(?:not|never|doubt|if|suppose|assum\w+|whether|unless|wrong|incorrect|false|mistaken|no)\b|n['\u2019]t\b)"
    r"(?:\s+(?:true|think|believe|say|mean|sure|that|the|case|final|correct|right|so|clear|claim|your|my|a|an|this|it"
    r"|is|was|certain)\b){0,9}[\s*_\"']*$",
    re.I,
)
_WITHDRAWN = re.compile(
    r"[\s$.,;:!)}\]*\\~]*(?:\?|(?:(?:but|no|wait|actually|however|hmm|oh|sorry|and)\b[\s,.!]*){0,4}"
    r"(?:(?:that|this|it|which|the(?:\s+above)?(?:\s+answer)?)\b\s*)?(?:(?:is|was|seems|looks|must\s+be|would\s+be)\s+"
    r"|['\u2019]s\s+|(?:is|was|does|can)n['\u2019]t\s+)"
    r"(?:(?:clearly|obviously|actually|definitely|just|a|an|the|quite|probably|also|simply|of\s+course)\s+){0,3}"
    r"(?:not\s+(?:right|correct|true|valid|possible|it\b|(?:the|my|an?)\s+(?:\w+\s+)?(?:answer|solution|value|result))"
    r"|wrong|incorrect|false|mistaken|mistake|error|impossible|invalid|common\s+mistake|tempting|a\s+guess))",
    re.I,
)
_WITHDRAWN_SHORT = re.compile(
    r"[\s$.,;:!)}\]*\\]*(?:(?:is|was)n['\u2019]t\s+(?:right|correct|true|it|the\s+(?:\w+\s+)?answer)"
    r"|\(?(?:wrong|incorrect|not\s+(?:correct|right|the\s+answer))\b)",
    re.I,
)
_MACRO = re.compile(r"\\(?:text\w*|mathrm|quad|qquad|hspace|[a-zA-Z]+)")
_JOIN = words("and or also alternatively maybe perhaps possibly either else both nor plus otherwise might could")
_LINK = _JOIN | words("the answer answers solution solutions is are it be other another one again as well")
_CONSEQUENCE = words(
    "so therefore thus hence gives giving yields finally final total then consequently means which overall"
)
_DOUBT = re.compile(
    r"\b(?:not|or|nor|maybe|perhaps|possibly|either|might|could|cannot|unknown|unsure|unclear|guess|probably|about"
    r"|approximately|around|between|suppose|if|question|problem|mentions?|example|such|candidates?)\b"
    r"|n't\b|[<>\u2248\u2260\u2264\u2265\u00b1~?]",
    re.I,
)
_CONCLUSION = re.compile(
    r"\W*(?:so|therefore|thus|hence|finally|altogether|in\s+(?:total|all)|consequently|then|(?:this|that)\s+means)\b",
    re.I,
)
_NUMBER = re.compile(
    r"(?<![\w.,/^_-])-?[\u20ac\u00a3]?(?:[0-9]+(?:,[0-9]{3})*|(?=\.))(?:\.[0-9]+)?(?:/[0-9]+)?%?(?![\w^_/*!]|[.,-][0-9])"
)
SCALES = words(
    "hundred thousand million billion trillion dozen dozens half double triple k mn bn pairs pair thirds "
    "quarters tenths hundredths thousandths halves score gross"
)


def retracted(between: str) -> bool:
    """Whether the words between two answers take the first back."""
    return bool(_TAKEN_BACK.search(between[-MAX_GAP:]))


def denied(before: str) -> bool:
    """Whether the words right before an answer say that it is none."""
    return bool(_DENIED.search(before.rpartition("\n\n")[2]))


def denied_statement(before: str) -> bool:
    """Whether the words right before "the answer is" turn it into its opposite."""
    return bool(_DENIED_STATEMENT.search(before.rpartition("\n\n")[2]))


def withdrawn(after: str) -> bool:
    """Whether the words right after an answer take it back."""
    return bool(_WITHDRAWN.match(after) or _WITHDRAWN_SHORT.match(after))


def commented(text: str, start: int) -> bool:
    """Whether the line of a place is a comment of LaTeX."""
    line = text.rfind("\n", 0, start) + 1
    return text[line : line + 80].lstrip()[:1] == "%"


def joint(gap: str) -> Literal["joined", "apart", "unclear"]:
    """What the words between two boxes make of them: one list, an earlier and a later answer, or nobody knows."""
    if len(gap) > MAX_GAP:
        return "apart"
    said = [word.casefold() for word in re.findall(r"[A-Za-z]{2,}", _MACRO.sub(" ", gap))]
    if retracted(gap) and said[:1] != ["or"]:
        return "apart"
    linked = set(said) <= _LINK
    ended = bool(re.search(r"[.!?](?:\s|$)", gap))
    if linked and not (ended and not set(said) & _JOIN):
        if "\n" in gap and not said and not re.search(r"[,;&]", gap):
            return "apart"
        return "joined"
    if "\n" in gap:
        return "apart"
    if set(said) & _JOIN and not ended:
        return "joined"
    return "apart" if set(said) & _CONSEQUENCE else "unclear"


def concludes(sentence: str) -> bool:
    """Whether a sentence states a result: it computes one, or starts as a conclusion does."""
    return "=" in sentence or bool(_CONCLUSION.match(sentence))


def only_number(sentence: str) -> str | None:
    """The one number of a sentence without a word of doubt, or the one after its last "="."""
    if _DOUBT.search(sentence):
        return None
    pieces = sentence.split("=")
    numbers = list(_NUMBER.finditer(pieces[-1]))
    if len({number[0] for number in numbers}) != 1:
        return None
    after = pieces[-1][numbers[-1].end() :].split(maxsplit=1)
    if after and after[0].strip(".,;:").casefold() in SCALES | {"cent", "cents"}:
        return None
    found = quantity(numbers[-1][0])
    chain = [quantity(piece) for piece in pieces[:-1]]  # "17 = 42" and "1 = 2 = 42" state no answer
    if found is None or any(number is not None and number.value != found.value for number in chain):
        return None
    return numbers[-1][0]
