r"""LaTeX and plain mathematics as a tree: a recursive-descent parser of our own.

Contract: nothing is evaluated, no name is looked up, no other parser is called. Time is linear in the text, which is
capped (`selfimprove.answers.tokens.MAX_CHARS` characters, `MAX_DEPTH` levels of nesting). What is not clearly
mathematics raises `NotMath`: ``4 2``, words, unknown commands, an open bracket, sums and integrals (these are the
question's expression, never an answer's value).

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from selfimprove.answers.tokens import MAX_DIGITS, Token, dressed_off, tokens
from selfimprove.answers.tree import MAX_DEPTH, Apply, NotMath, Number, Relation, Tree

END = Token("end", "")
MAX_EXPONENT = 10_000

RELATIONS = {
    "=": "=", "==": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "!=": "!=", r"\lt": "<", r"\gt": ">",
    r"\le": "<=", r"\leq": "<=", r"\leqslant": "<=", r"\ge": ">=", r"\geq": ">=", r"\geqslant": ">=", r"\ne": "!=",
    r"\neq": "!=", r"\approx": "~", r"\simeq": "~", r"\in": "in", r"\equiv": "=",
}  # fmt: skip
GREEK = frozenset(
    [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "varepsilon",
        "zeta",
        "eta",
        "theta",
        "vartheta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
        "rho",
        "sigma",
        "tau",
        "upsilon",
        "phi",
        "varphi",
        "chi",
        "psi",
        "omega",
        "Gamma",
        "Delta",
        "Theta",
        "Lambda",
        "Xi",
        "Sigma",
        "Phi",
        "Psi",
        "Omega",
        "ell",
    ]
)
NAMED = {
    "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc", "arcsin": "arcsin",
    "arccos": "arccos", "arctan": "arctan", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "ln": "ln", "exp": "exp",
    "lg": "log", "log": "log", "gcd": "gcd", "lcm": "lcm", "max": "max", "min": "min", "floor": "floor",
    "ceil": "ceil", "abs": "abs", "sqrt": "root", "binom": "binom", "asin": "arcsin", "acos": "arccos",
    "atan": "arctan",
}  # fmt: skip
CONSTANT = {
    r"\pi": "pi", "pi": "pi", r"\infty": "infinity", "inf": "infinity", "infinity": "infinity", "oo": "infinity",
    r"\realsR": "reals", r"\realsC": "complexes", r"\realsZ": "integers", r"\realsQ": "rationals",
    r"\realsN": "naturals", r"\mathrm e": "e", r"\imath": "i",
}  # fmt: skip
UNEVALUATED = {r"\int", r"\iint", r"\oint", r"\sum", r"\prod", r"\lim", r"\sup", r"\inf", r"\det", r"\deg"}
ACCENTS = frozenset({r"\overline", r"\bar", r"\vec", r"\hat", r"\tilde", r"\overrightarrow", r"\widehat", r"\mathbf"})
MATRICES = frozenset({"pmatrix", "bmatrix", "matrix", "smallmatrix", "Bmatrix", "array"})
CLOSERS = {"(": ")", "[": "]"}
JOINERS = frozenset({"and", "or"})


def parse(text: str) -> Tree:
    """The tree of an answer. Raises NotMath if the text is not clearly mathematics, or beyond the caps."""
    found = tokens(dressed_off(text))
    if not found:
        raise NotMath("empty")
    parser = _Parser(found)
    tree = parser.listed()
    if parser.next is not END:
        raise NotMath(f"cannot read it from {parser.next.text!r} on")
    return tree


def literal(digits: str, written: str = "int") -> Number:
    """A numeral's exact value. Raises NotMath beyond `MAX_DIGITS` digits or `MAX_EXPONENT`."""
    mantissa, _, power = digits.lower().partition("e")
    whole, _, decimals = mantissa.partition(".")
    if len(whole) + len(decimals) > MAX_DIGITS:
        raise NotMath(f"more than {MAX_DIGITS} digits")
    value = Fraction(int(whole + decimals or "0"), 10 ** len(decimals))
    if power:
        if abs(int(power)) > MAX_EXPONENT:
            raise NotMath("an exponent beyond the limit")
        return Number(value * Fraction(10) ** int(power), "scientific")
    return Number(value, "decimal" if decimals else written)


class _Parser:
    """One pass over the tokens; every method reads one level of precedence and leaves `next` behind it."""

    def __init__(self, found: list[Token]) -> None:
        self.rest = found[::-1]
        self.depth = 0
        self.next = self.rest.pop()
        self.bars = 0

    def take(self) -> Token:
        token = self.next
        self.next = self.rest.pop() if self.rest else END
        return token

    def push(self, token: Token) -> None:
        if self.next is not END:
            self.rest.append(self.next)
        self.next = token

    def skip(self, *texts: str) -> bool:
        found = self.next.kind != "text" and self.next.text in texts and self.next is not END
        if found:
            self.take()
        return found

    def expect(self, *texts: str) -> None:
        if not self.skip(*texts):
            raise NotMath(f"{texts[0]!r} is missing")

    def listed(self) -> Tree:
        """``a, b and c``"""
        items = [self.statement()]
        while self.joiner():
            items.append(self.statement())
        return Apply("list", tuple(items)) if len(items) > 1 else items[0]

    def joiner(self) -> bool:
        """Commas and words between the members of a list."""
        found = False
        while True:
            if self.next.kind == "text":
                words = self.next.text.casefold().strip(" ,").split()
                joins = bool(words) and set(words) <= JOINERS
                joins = joins or (not words and not self.next.text.strip(" ,") and "," in self.next.text)
            else:
                joins = self.next.text.casefold() in JOINERS or self.next.text in (",", ";", r"\lor", r"\land", r"\vee")
            if not joins:
                return found
            self.take()
            found = True

    def statement(self) -> Tree:
        """``a < b <= c``"""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotMath(f"more than {MAX_DEPTH} levels of nesting")
        sides, signs = [self.union()], []
        while self.next.kind != "text" and (sign := RELATIONS.get(self.next.text)):
            self.take()
            signs.append(sign)
            sides.append(self.union())
        self.depth -= 1
        return Relation(tuple(sides), tuple(signs)) if signs else sides[0]

    def union(self) -> Tree:
        found = self.ratio()
        names = {r"\cup": "cup", r"\cap": "cap", r"\setminus": "minus", r"\backslash": "minus", "U": "cup"}
        while (head := names.get(self.next.text)) and not (self.next.text == "U" and not _is_set(found)):
            self.take()
            right = self.ratio()
            left = found.args if isinstance(found, Apply) and found.head == head == "cup" else (found,)
            found = Apply(head, (*left, right))
        return found

    def ratio(self) -> Tree:
        items = [self.sum()]
        while self.next.kind == "sign" and self.skip(":"):
            items.append(self.sum())
        return Apply(":", tuple(items)) if len(items) > 1 else items[0]

    def sum(self) -> Tree:
        found = self.signed()
        while self.next.kind != "text" and self.next.text in ("+", "-", r"\pm", r"\mp"):
            sign = self.take().text
            right = self.product()
            if sign == "-":
                right = Apply("neg", (right,))
            elif sign != "+":
                right = Apply("pm", (right,))
            left = found.args if isinstance(found, Apply) and found.head == "+" else (found,)
            found = Apply("+", (*left, right))
        return found

    def signed(self) -> Tree:
        count = 0
        while self.next.text in ("+", "-") and self.next.kind == "sign":
            count += 1
            if count > MAX_DEPTH:
                raise NotMath("too many signs")
            if self.take().text == "-":
                return Apply("neg", (self.nested(self.signed_product),))
        if self.skip(r"\pm", r"\mp"):
            return Apply("pm", (self.product(),))
        return self.product()

    def signed_product(self) -> Tree:
        return self.signed() if self.next.text in ("+", "-") else self.product()

    def product(self) -> Tree:
        found = self.factor()
        while True:
            if self.next.kind != "text" and self.next.text in ("*", r"\times", r"\cdot", r"\ast"):
                self.take()
                found = _flat("*", found, self.factor())
            elif self.next.kind != "text" and self.next.text in ("/", r"\div"):
                self.take()
                found = Apply("/", (found, self.factor()))
            elif self.starts_atom():
                found = self.juxtaposed(found)
            else:
                return found

    def juxtaposed(self, left: Tree) -> Tree:
        """A product without a sign; ``1 1/2`` and ``1\\frac12`` are mixed numbers, ``4 2`` is nothing."""
        bare = self.next.kind == "number"
        right = self.power()
        if isinstance(left, Number) and left.written == "int":
            if bare and isinstance(right, Number) and right.written == "int" and self.skip("/"):
                below = self.power()
                right = Apply("/", (right, below))
                bare = False
            if not bare and (part := _proper(right)) is not None:
                return Number(left.value + part, "mixed")
        if bare:
            raise NotMath("two numbers beside each other")
        return _flat("juxt", left, right)

    def factor(self) -> Tree:
        if self.next.kind == "sign" and self.next.text in ("-", "+"):
            sign = self.take().text
            inner = self.nested(self.factor)
            return Apply("neg", (inner,)) if sign == "-" else inner
        return self.power()

    def power(self) -> Tree:
        found = self.atom()
        while self.next.kind in ("sign", "command"):
            if self.next.text in ("^", "**"):
                self.take()
                if self.is_degree():
                    found = Apply("deg", (found,))
                    continue
                if self.next.text in ("^", "**"):
                    raise NotMath("two exponents")
                found = Apply("^", (found, self.nested(self.argument)))
            elif self.next.text == "!":
                self.take()
                found = Apply("!", (found,))
            elif self.next.text in (r"\%", "%"):
                self.take()
                found = Apply("/", (found, Number(Fraction(100))))
            elif self.next.text == r"\degree":
                self.take()
                found = Apply("deg", (found,))
            else:
                break
        return found

    def is_degree(self) -> bool:
        """``^\\circ`` or ``^{\\circ}`` behind the caret."""
        if self.skip(r"\circ"):
            return True
        if self.next.text == "{" and self.rest and self.rest[-1].text == r"\circ":
            self.take()
            self.take()
            self.expect("}")
            return True
        return False

    def nested(self, read: Callable[[], Tree]) -> Tree:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotMath(f"more than {MAX_DEPTH} levels of nesting")
        found = read()
        self.depth -= 1
        return found

    def argument(self) -> Tree:
        """What a caret or a command takes: a group, or one (signed) atom."""
        if self.next.kind == "sign" and self.next.text in ("-", "+"):
            sign = self.take().text
            inner = self.power()
            return Apply("neg", (inner,)) if sign == "-" else inner
        return self.power() if self.next.text != "{" else self.group()

    def digit_argument(self) -> Tree:
        """``\\frac12``: a numeral without braces gives one digit at a time."""
        if self.next.text == "{":
            return self.group()
        if self.next.kind == "number" and len(self.next.text) > 1:
            digits = self.take().text
            if len(digits) > 2 or not digits.isdecimal():
                raise NotMath("an unclear fraction")
            self.push(Token("number", digits[1]))
            return literal(digits[0])
        return self.atom()

    def group(self) -> Tree:
        self.expect("{")
        found = self.nested(self.statement)
        self.expect("}")
        return found

    def starts_atom(self) -> bool:
        kind, text = self.next.kind, self.next.text
        if kind in ("number", "text"):
            return kind == "number" or bool(_as_tokens(text))
        if kind == "word":
            return text.casefold() not in JOINERS and text != "U"
        if kind == "sign":
            return text in ("(", "{") or (text == "|" and self.bars == 0)
        return kind == "command" and text in STARTERS

    def atom(self) -> Tree:
        from selfimprove.answers.atoms import read_atom

        return read_atom(self)


def _flat(head: str, left: Tree, right: Tree) -> Tree:
    return Apply(head, (*(left.args if isinstance(left, Apply) and left.head == head else (left,)), right))


def _is_set(tree: Tree) -> bool:
    return isinstance(tree, Apply) and tree.head in ("(,)", "[,)", "(,]", "[,]", "{}", "cup", "cap")


def _proper(tree: Tree) -> Fraction | None:
    """The value of a fraction of two plain numerals that is below one."""
    if isinstance(tree, Apply) and tree.head == "/":
        above, below = tree.args
        plain = isinstance(above, Number) and isinstance(below, Number) and above.written == below.written == "int"
        if plain and isinstance(above, Number) and isinstance(below, Number) and 0 < above.value < below.value:
            return above.value / below.value
    return None


def _as_tokens(text: str) -> list[Token]:
    r"""``\text{42}`` and ``\text{B}`` are what they hold; anything else in words is none."""
    text = text.strip()
    if re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", text):
        return [Token("number", text)]
    if re.fullmatch(r"[A-Za-z]", text) or text in NAMED:
        return [Token("word", text)]
    return []


STARTERS = frozenset(
    {r"\frac", r"\dfrac", r"\tfrac", r"\cfrac", r"\sqrt", r"\binom", r"\dbinom", r"\tbinom", r"\lfloor", r"\lceil",
     r"\langle", r"\{", r"\begin", r"\emptyset", r"\varnothing", r"\lvert", r"\angle", r"\triangle", r"\operatorname"}
    | {"\\" + name for name in GREEK | set(NAMED)}
    | set(CONSTANT)
    | ACCENTS
)  # fmt: skip
