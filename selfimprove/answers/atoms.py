"""The smallest parts of an expression: numerals, letters, brackets, commands with arguments, matrices.

Contract: the lower half of `selfimprove.answers.latex`, whose parser it is handed; same promises.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from selfimprove.answers import latex
from selfimprove.answers.tokens import Token
from selfimprove.answers.tree import Apply, NotMath, Number, Symbol, Tree

if TYPE_CHECKING:
    from selfimprove.answers.latex import _Parser as Parser

FRACTIONS = frozenset({r"\frac", r"\dfrac", r"\tfrac", r"\cfrac"})
BINOMIALS = frozenset({r"\binom", r"\dbinom", r"\tbinom"})
MAX_LETTERS = 4


def read_atom(parser: Parser) -> Tree:
    token = parser.take()
    if token.kind == "number":
        return _numeral(parser, token.text)
    if token.kind == "word":
        return _word(parser, token.text)
    if token.kind == "text":
        inside = latex._as_tokens(token.text)
        if not inside:
            raise NotMath(f"holds the words {token.text!r}")
        parser.push(inside[0])
        return read_atom(parser)
    if token.kind == "command":
        return _command(parser, token.text)
    if token.text in ("(", "["):
        return _bracket(parser, token.text)
    if token.text == "{":
        parser.push(token)
        return parser.group()
    if token.text == "|":
        return _bars(parser, "|")
    raise NotMath(f"nothing readable at {token.text!r}" if token.text else "it ends too early")


def _numeral(parser: Parser, digits: str) -> Tree:
    if parser.next.text == r"\overline" and parser.next.kind == "command" and "." in digits:
        parser.take()
        parser.expect("{")
        period = parser.take().text
        parser.expect("}")
        if not period.isdecimal() or len(period) + len(digits) > 100:
            raise NotMath("an unclear repeating decimal")
        places = len(digits.partition(".")[2])
        tail = Fraction(int(period), 10**places * (10 ** len(period) - 1))
        return Number(latex.literal(digits).value + tail, "repeating")
    if parser.next.text == "_" and parser.next.kind == "sign":
        parser.take()
        base = _index(parser)
        if not digits.isdecimal() or not base.isdecimal() or not 2 <= int(base) <= 36:
            raise NotMath("an unclear index of a number")
        return Apply("base", (Symbol(digits.lstrip("0") or "0"), Number(Fraction(int(base)))))
    return latex.literal(digits)


def _index(parser: Parser) -> str:
    """What stands behind an underscore, as text."""
    if not parser.skip("{"):
        token = parser.take()
        return {"two": "2", "ten": "10", "eight": "8", "sixteen": "16"}.get(token.text, token.text)
    found: list[str] = []
    while not parser.skip("}"):
        if parser.next is latex.END or parser.next.text in "{^_\\" or len(found) > 8:
            raise NotMath("an unclear index")
        found.append(parser.take().text)
    words = {"two": "2", "ten": "10", "eight": "8", "sixteen": "16", "three": "3", "four": "4", "five": "5"}
    return words.get("".join(found), "".join(found))


def _indexed(parser: Parser, name: str) -> Symbol:
    if parser.next.kind == "sign" and parser.next.text == "_":
        parser.take()
        name = f"{name}_{_index(parser)}"
    while parser.next.kind == "sign" and parser.next.text == "'":
        parser.take()
        name += "'"
    return Symbol(name)


def _word(parser: Parser, word: str) -> Tree:
    if word in latex.CONSTANT:
        return Symbol(latex.CONSTANT[word])
    if word in latex.NAMED and len(word) > 1:
        return _function(parser, latex.NAMED[word])
    if len(word) == 1:
        return _indexed(parser, word)
    if word.isupper() and len(word) <= MAX_LETTERS:  # a segment or a triangle: AB is one name
        return _indexed(parser, word)
    if len(word) > MAX_LETTERS or not word.islower():
        raise NotMath(f"holds the word {word!r}")
    for letter in reversed(word[1:]):
        parser.push(Token("word", letter))
    return _indexed(parser, word[0])


def _command(parser: Parser, command: str) -> Tree:
    if command in FRACTIONS:
        return Apply("/", (parser.nested(parser.digit_argument), parser.nested(parser.digit_argument)))
    if command in BINOMIALS:
        return Apply("binom", (parser.nested(parser.digit_argument), parser.nested(parser.digit_argument)))
    if command in latex.CONSTANT:
        return Symbol(latex.CONSTANT[command])
    if command[1:] in latex.GREEK:
        return _indexed(parser, command[1:])
    if command in (r"\emptyset", r"\varnothing"):
        return Apply("{}", ())
    if command == r"\{":
        return _members(parser)
    if command in (r"\lfloor", r"\lceil", r"\lvert", r"\langle"):
        return _paired(parser, command)
    if command == r"\begin":
        return _matrix(parser)
    if command == r"\operatorname":
        parser.expect("{")
        name = parser.take().text
        parser.expect("}")
        command = "\\" + name
    if command[1:] in latex.NAMED:
        return _function(parser, latex.NAMED[command[1:]])
    if command in latex.ACCENTS:
        return _accented(parser, command)
    if command in (r"\angle", r"\triangle"):
        return Symbol(f"{command[1:]} {_name(parser)}")
    if command in latex.UNEVALUATED:
        raise NotMath(f"an expression that is not evaluated ({command})")
    raise NotMath(f"holds {command}")


def _accented(parser: Parser, command: str) -> Tree:
    inner = parser.nested(parser.argument)
    if not isinstance(inner, Symbol):
        raise NotMath(f"holds {command}")
    return inner if command == r"\mathbf" else _indexed(parser, f"{command[1:]} {inner.name}")


def _name(parser: Parser) -> str:
    token = parser.take()
    if token.kind != "word":
        raise NotMath("a name is missing")
    return token.text


def _function(parser: Parser, head: str) -> Tree:
    """``\\sin^2 x``, ``\\log_2 8``, ``sqrt(2)``, ``\\gcd(a, b)``."""
    index: Tree | None = None
    exponent: Tree | None = None
    if head == "root" and parser.next.text == "[":
        parser.take()
        index = parser.nested(parser.statement)
        parser.expect("]")
    while parser.next.kind == "sign" and parser.next.text in ("_", "^"):
        sign = parser.take().text
        if sign == "_" and head == "log" and index is None:
            index = parser.nested(parser.argument)
        elif sign == "^" and exponent is None and head != "root":
            exponent = parser.nested(parser.argument)
        else:
            raise NotMath("an unclear index")
    found = _applied(head, _arguments(parser, head), index)
    if exponent == Apply("neg", (Number(Fraction(1)),)):
        raise NotMath("an inverse function")
    return Apply("^", (found, exponent)) if exponent is not None else found


def _arguments(parser: Parser, head: str) -> tuple[Tree, ...]:
    if parser.next.text == "(" and parser.next.kind == "sign":
        inside = parser.nested(parser.atom)
        return inside.args if isinstance(inside, Apply) and inside.head == "(,)" else (inside,)
    if head == "root":
        return (parser.nested(parser.argument),)
    inside = parser.nested(parser.power)
    while parser.starts_atom() and parser.next.kind != "text" and parser.next.text not in ("(", "{"):
        if parser.next.kind == "command" and parser.next.text[1:] in latex.NAMED:
            break
        inside = latex._flat("juxt", inside, parser.power())  # \sin 2x
    return (inside,)


def _applied(head: str, given: tuple[Tree, ...], index: Tree | None) -> Tree:
    wanted = {
        "binom": (2,),
        "mod": (2,),
        "gcd": range(1, 9),
        "lcm": range(1, 9),
        "max": range(1, 9),
        "min": range(1, 9),
    }
    if len(given) not in wanted.get(head, (1,)):
        raise NotMath(f"{head} of {len(given)} things")
    if head == "root":
        return Apply("root", (index or Number(Fraction(2)), given[0]))
    if head == "log":
        return Apply("log", (index or Number(Fraction(10)), given[0]))
    if head == "exp":
        return Apply("^", (Symbol("e"), given[0]))
    return Apply(head, given)


def _bracket(parser: Parser, opener: str) -> Tree:
    """A group, a tuple or an interval."""
    bars, parser.bars = parser.bars, 0
    items = [parser.nested(parser.statement)]
    while parser.next.kind != "text" and parser.skip(",", ";"):
        items.append(parser.nested(parser.statement))
    parser.bars = bars
    closer = parser.next.text
    parser.expect(")", "]")
    if len(items) == 1:
        if (opener, closer) not in latex.CLOSERS.items():
            raise NotMath("brackets of two kinds around one thing")
        return items[0] if opener == "(" else Apply("[,]", (items[0],))
    return Apply(f"{opener},{closer}", tuple(items))


def _members(parser: Parser) -> Tree:
    items: list[Tree] = []
    if not parser.skip(r"\}"):
        items.append(parser.nested(parser.statement))
        while parser.joiner():
            items.append(parser.nested(parser.statement))
        parser.expect(r"\}")
    return Apply("{}", tuple(items))


def _bars(parser: Parser, closer: str) -> Tree:
    parser.bars += 1
    inside = parser.nested(parser.sum)
    parser.expect(closer)
    parser.bars -= 1
    return Apply("abs", (inside,))


def _paired(parser: Parser, opener: str) -> Tree:
    if opener == r"\lvert":
        return _bars(parser, r"\rvert")
    items = [parser.nested(parser.sum)]
    while opener == r"\langle" and parser.skip(","):
        items.append(parser.nested(parser.sum))
    parser.expect({r"\lfloor": r"\rfloor", r"\lceil": r"\rceil", r"\langle": r"\rangle"}[opener])
    return Apply({r"\lfloor": "floor", r"\lceil": "ceil", r"\langle": "(,)"}[opener], tuple(items))


def _matrix(parser: Parser) -> Tree:
    kind = _environment(parser)
    if kind == "array" and parser.skip("{"):
        while not parser.skip("}"):
            if parser.take() is latex.END:
                raise NotMath("'}' is missing")
    rows: list[Tree] = []
    cells: list[Tree] = []
    while parser.next.text != r"\end":
        cells.append(parser.nested(parser.statement))
        if parser.skip("&"):
            continue
        rows.append(Apply("row", tuple(cells)))
        cells = []
        if not parser.skip("\\\\"):
            break
    parser.expect(r"\end")
    if _environment(parser) != kind or cells or not rows:
        raise NotMath("an unclear matrix")
    return Apply("matrix", tuple(rows))


def _environment(parser: Parser) -> str:
    parser.expect("{")
    kind = parser.take().text
    parser.expect("}")
    if kind not in latex.MATRICES:
        raise NotMath(f"holds a {kind[:20]}")
    return kind
