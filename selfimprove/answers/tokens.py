r"""The characters of an answer as tokens: Unicode signs become LaTeX commands, dressing is taken off.

Contract: pure and linear. Caps come first: `MAX_CHARS` characters, `MAX_DIGITS` digits in a row. Text with characters
that reorder what is seen (bidirectional controls) is refused. Decimal digits of any script are digits; circled and
superscript digits are not.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from selfimprove.answers.tree import NotMath

MAX_CHARS = 300
MAX_DIGITS = 1000


class Token(NamedTuple):
    """``kind``: number, command, word, text (the content of a text macro), or sign."""

    kind: str
    text: str


_SIGNS = {
    "−": "-", "–": "-", "‐": "-", "‑": "-", "﹣": "-", "－": "-", "＋": "+", "×": r"\times ", "⋅": r"\cdot ",
    "·": r"\cdot ", "∙": r"\cdot ", "✕": r"\times ", "÷": r"\div ", "∕": "/", "⁄": "/", "／": "/", "＝": "=",
    "√": r"\sqrt ", "∛": r"\sqrt[3]", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ",
    "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "±": r"\pm ", "∓": r"\mp ", "∪": r"\cup ", "∩": r"\cap ",
    "∈": r"\in ", "∅": r"\emptyset ", "°": r"^{\circ}", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℂ": r"\mathbb{C}",
    "ℚ": r"\mathbb{Q}", "ℕ": r"\mathbb{N}", "∖": r"\setminus ", "⟨": r"\langle ", "⟩": r"\rangle ", "∑": r"\sum ",
    "∫": r"\int ", "∏": r"\prod ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "，": ",", "．": ".", "（": "(", "）": ")", "［": "[", "］": "]", "｛": r"\{", "｝": r"\}", "％": "%", "；": ";",
    "：": ":", "∶": ":", "＜": "<", "＞": ">", "　": " ", "\u00a0": "\u2009", "\u202f": "\u2009", "\u200b": " ",
    "\ufeff": " ", "\u2032": "'", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "λ": r"\lambda ",
    "μ": r"\mu ", "φ": r"\phi ", "ω": r"\omega ", "σ": r"\sigma ", "Δ": r"\Delta ", "∠": r"\angle ", "△": r"\triangle ",
    "¬": r"\neg ", "∧": r"\land ", "∨": r"\lor ", "⇒": r"\implies ", "→": r"\to ",
}  # fmt: skip
_TABLE = str.maketrans(_SIGNS)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉ₙ", "0123456789n")
_RAISED_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_LOWERED_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉ₙ]+")
_REORDERING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\x00\ud800-\udfff]")
_THIN_GROUP = re.compile("(?<=[0-9])\u2009(?=[0-9]{3}(?![0-9]))")


def in_ascii(text: str) -> str:
    """``text`` with Unicode mathematics written in LaTeX. Raises NotMath for characters that reorder the line."""
    if text.isascii():
        return text
    if _REORDERING.search(text):
        raise NotMath("holds characters that change the order of what is seen")
    text = _THIN_GROUP.sub("", text.translate(_TABLE))
    text = _RAISED_RUN.sub(lambda run: "^{" + run[0].translate(_RAISED) + "}", text)
    text = _LOWERED_RUN.sub(lambda run: "_{" + run[0].translate(_LOWERED) + "}", text)
    return text if text.isascii() else "".join(map(_one_in_ascii, text)).replace("\u2009", " ")


def _one_in_ascii(char: str) -> str:
    if char.isascii():
        return char
    if unicodedata.category(char) == "Nd":
        return str(unicodedata.decimal(char))
    if "<fraction>" in unicodedata.decomposition(char):
        above, _, below = unicodedata.normalize("NFKC", char).partition("\u2044")
        return rf"\frac{{{above}}}{{{below}}}" if below else char
    if "<font>" in unicodedata.decomposition(char) or "<wide>" in unicodedata.decomposition(char):
        return unicodedata.normalize("NFKC", char)
    return char


_TEXT_MACRO = (
    r"\\(?:text|textbf|textit|textrm|textsf|mathrm|mathbf|mathit|mathsf|mathcal|mbox|hbox|emph|boldsymbol|bm|rm|bf)"
)
_DRESSING: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\\(?:displaystyle|textstyle|limits|nolimits|Bigg?|bigg?|[lr]igg?|mathstrut)(?![a-zA-Z])"), " "),
    (re.compile(r"\\(?:left|right|middle|big[lr]?|Big[lr]?)(?![a-zA-Z])\s*\.?(?=[\s()\[\]|\\{}]|$)"), " "),
    (re.compile(r"(?<=,)\\!"), ""),
    (re.compile(r"(?<=[0-9])(?:\{,\}|\\,)(?=[0-9]{3}(?![0-9]))"), ","),
    (re.compile(r"\\(?:quad|qquad|enspace|thinspace|allowbreak|nobreak)(?![a-zA-Z])|\\[,;:! ()\[\]]|(?<=\S)~"), " "),
    (re.compile(r"(?<![0-9A-Za-z)\]}])\*\*|\*\*(?![0-9A-Za-z(\\-])|(?<![\\])\$|`"), " "),
    (re.compile(r"(?<=[0-9)]) ?[xX] ?(?=[0-9(])(?=.)"), r"\\times "),
    (re.compile(r"\\mathbb\s*\{?\s*([RZCQN])\s*\}?"), r"\\reals\1 "),
)
_TOKEN = re.compile(
    _TEXT_MACRO + r"\s*\{(?P<text>[^{}]*)\}"
    r"|(?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,9}(?![0-9A-Za-z.]))?|\.[0-9]+)"
    r"|(?P<command>\\(?:[a-zA-Z]+|[^a-zA-Z]))"
    r"|(?P<word>[A-Za-z]+)"
    r"|(?P<sign>\*\*|<=|>=|!=|==|[^\sA-Za-z0-9\\])"
    r"|\s+"
)
_THOUSANDS = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9,])")
_DIGITS = re.compile(rf"[0-9]{{{MAX_DIGITS + 1}}}")


def dressed_off(text: str) -> str:
    r"""``text`` in ASCII without ``$``, ``\left``, spacing commands and bold; ``\mathbb{R}`` as ``\realsR``.

    Raises NotMath beyond the caps.
    """
    if len(text) > MAX_CHARS:
        raise NotMath(f"longer than {MAX_CHARS} characters")
    text = in_ascii(text)
    for pattern, replacement in _DRESSING:
        text = pattern.sub(replacement, text)
    text = text.strip()
    while text.endswith((".", ";", ",")) and not text.endswith(("\\.", "...", "\\;", "\\,")):
        text = text[:-1].rstrip()
    return text


def tokens(text: str) -> list[Token]:
    """The tokens of an undressed text (see `dressed_off`)."""
    if not re.search(r"[\[({|]", text):  # inside brackets a comma separates: (100,200) is a pair
        text = _THOUSANDS.sub(lambda group: group[0].replace(",", ""), text)
    found: list[Token] = []
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise NotMath(f"holds {text[place]!r}")
        if match.lastgroup is not None:
            found.append(Token(match.lastgroup, match[match.lastgroup].strip()))
        place = match.end()
    return found
