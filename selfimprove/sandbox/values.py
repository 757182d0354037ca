"""Values that cross the wall: tagged plain data, taken apart and rebuilt as Python's own types.

Contract: used on both sides. `pack` never runs a method that a value's own class defines where a builtin's will do: a
subclass of int goes over as an int. What is no plain data becomes a handle (``pack``'s ``opaque`` gives its number).
`unpack` accepts any bytes and raises BadValue for what `pack` does not write; what it returns are real builtins. JSON,
so that nothing in the bytes can be executed.

See it work: ``pytest tests/verifiers/test_unit_tests.py``.
"""

from __future__ import annotations

import base64
import collections
import datetime
import decimal
import fractions
import json
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 200
MAX_DIGITS = 400_000  # of an int in hexadecimal: 1.6 million bits

Opaque = Callable[[Any], Any]


class BadValue(ValueError):
    """Bytes that `pack` does not write."""


_SEQUENCES = ((list, "l"), (tuple, "t"), (set, "s"), (frozenset, "f"), (collections.deque, "q"))
_TEXTS = ((datetime.datetime, "dt"), (datetime.date, "d"), (datetime.time, "tm"))


def pack(value: Any, opaque: Opaque, depth: int = 0) -> Any:
    """``value`` as JSON-ready data. Shared references come out as copies; a cycle is too deep: BadValue."""
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value if kind is not str or value.isascii() else ["u", _text(value)]
    if kind is int and -(1 << 53) < value < 1 << 53:
        return value
    if depth > MAX_DEPTH:
        raise BadValue("nested too deeply")
    if isinstance(value, type):
        builtin = value.__module__ == "builtins" and getattr(_builtins(), value.__name__, None) is value
        return ["ty", value.__name__] if builtin else ["o", opaque(value)]
    for base in kind.__mro__ if not isinstance(kind.__mro__, str) else ():
        packer = _PACKERS.get(base)
        if packer is not None:
            return packer(value, opaque, depth + 1)
    return ["o", opaque(value)]


def _builtins() -> Any:
    import builtins

    return builtins


def _text(value: str) -> str:
    raw = str.encode(value, "utf-8", "surrogatepass")
    return base64.b64encode(raw).decode()


def _pack_int(value: Any, opaque: Opaque, depth: int) -> Any:
    plain = int.__add__(value, 0)
    if -(1 << 53) < plain < 1 << 53:
        return plain
    digits = int.__format__(plain, "x")
    if len(digits) > MAX_DIGITS:
        raise BadValue("an integer with too many digits")
    return ["i", digits]


def _pack_float(value: Any, opaque: Opaque, depth: int) -> Any:
    return ["fl", float.hex(float.__mul__(value, 1.0))]


def _pack_many(tag: str, base: Any) -> Callable[[Any, Opaque, int], Any]:
    def packer(value: Any, opaque: Opaque, depth: int) -> Any:
        return [tag, [pack(item, opaque, depth) for item in base.__iter__(value)]]

    return packer


def _pack_tuple(value: Any, opaque: Opaque, depth: int) -> Any:
    items = [pack(item, opaque, depth) for item in tuple.__iter__(value)]
    names = type(value).__dict__.get("_fields")
    if type(value) is not tuple and type(names) is tuple and all(type(name) is str for name in names):
        return ["nt", [type.__dict__["__name__"].__get__(type(value)), list(names), items]]
    return ["t", items]


def _pack_dict(value: Any, opaque: Opaque, depth: int) -> Any:
    return ["m", [[pack(k, opaque, depth), pack(v, opaque, depth)] for k, v in dict.items(value)]]


_PACKERS: dict[Any, Callable[[Any, Opaque, int], Any]] = {
    bool: lambda value, opaque, depth: value is True,
    int: _pack_int,
    float: _pack_float,
    complex: lambda value, opaque, depth: ["c", [float.hex(value.real), float.hex(value.imag)]],
    str: lambda value, opaque, depth: ["u", _text(value)],
    bytes: lambda value, opaque, depth: ["b", base64.b64encode(bytes.__getitem__(value, slice(None))).decode()],
    bytearray: lambda value, opaque, depth: ["ba", base64.b64encode(bytes(memoryview(value))).decode()],
    dict: _pack_dict,
    range: lambda value, opaque, depth: ["r", [_pack_int(n, opaque, 0) for n in (value.start, value.stop, value.step)]],
    fractions.Fraction: lambda value, opaque, depth: [
        "fr", [_pack_int(value._numerator, opaque, 0), _pack_int(value._denominator, opaque, 0)]
    ],
    decimal.Decimal: lambda value, opaque, depth: ["de", decimal.Decimal.__str__(value)],
    datetime.timedelta: lambda value, opaque, depth: ["td", [value.days, value.seconds, value.microseconds]],
    **{base: _pack_many(tag, base) for base, tag in _SEQUENCES if base is not tuple},
    tuple: _pack_tuple,
}  # fmt: skip
for _base, _tag in _TEXTS:
    _PACKERS[_base] = lambda value, opaque, depth, base=_base, tag=_tag: [tag, base.isoformat(value)]  # type: ignore[misc]


def dumps(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()


def loads(payload: bytes) -> Any:
    """JSON data. Raises BadValue."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise BadValue("no JSON") from error


def unpack(data: Any, handle: Callable[[Any], Any]) -> Any:
    """The value that packed ``data`` stands for; ``handle`` makes what stands for an opaque one. Raises BadValue."""
    try:
        return _unpack(data, handle, 0)
    except BadValue:
        raise
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, ArithmeticError) as error:
        raise BadValue(f"{type(error).__name__}: {error}") from error


def _unpack(data: Any, handle: Callable[[Any], Any], depth: int) -> Any:
    if data is None or isinstance(data, bool | int | str):
        if type(data) is int and not -(1 << 53) < data < 1 << 53:
            raise BadValue("an integer that is not written as one")
        return data
    if not isinstance(data, list) or len(data) != 2 or not isinstance(data[0], str) or depth > MAX_DEPTH + 5:
        raise BadValue("not a value")
    tag, body = data
    if tag == "o":
        return handle(body)
    if tag in ("l", "t", "s", "f", "q"):
        items = [_unpack(item, handle, depth + 1) for item in _list(body)]
        return {"l": list, "t": tuple, "s": set, "f": frozenset, "q": collections.deque}[tag](items)
    if tag == "m":
        return {_unpack(k, handle, depth + 1): _unpack(v, handle, depth + 1) for k, v in _list(body)}
    if tag == "nt":
        name, names, items = body
        values = [_unpack(item, handle, depth + 1) for item in _list(items)]
        return collections.namedtuple(str(name), [str(n) for n in _list(names)], rename=True)(*values)
    return _LEAVES[tag](body)


def _list(body: Any) -> list[Any]:
    if not isinstance(body, list):
        raise BadValue("not a list")
    return body


def _number(body: Any) -> int:
    """An int, plain or written out."""
    number = _LEAVES["i"](body[1]) if isinstance(body, list) and body[0] == "i" else body
    if type(number) is not int:
        raise BadValue("not a number")
    return number


def _digits(body: Any) -> int:
    if not isinstance(body, str) or len(body) > MAX_DIGITS:
        raise BadValue("an integer with too many digits")
    return int(body, 16)


def _decimal(body: Any) -> decimal.Decimal:
    if not isinstance(body, str) or len(body) > 10_000:
        raise BadValue("a decimal that is too long")
    return decimal.Decimal(body)


def _type(body: Any) -> Any:
    found = getattr(_builtins(), str(body), None)
    if not isinstance(found, type):
        raise BadValue("no type")
    return found


_LEAVES: dict[str, Callable[[Any], Any]] = {
    "u": lambda body: base64.b64decode(body, validate=True).decode("utf-8", "surrogatepass"),
    "i": _digits,
    "fl": lambda body: float.fromhex(body),
    "c": lambda body: complex(float.fromhex(body[0]), float.fromhex(body[1])),
    "b": lambda body: base64.b64decode(body, validate=True),
    "ba": lambda body: bytearray(base64.b64decode(body, validate=True)),
    "r": lambda body: range(*[_number(n) for n in _list(body)]),
    "fr": lambda body: fractions.Fraction(_number(body[0]), _number(body[1])),
    "de": _decimal,
    "td": lambda body: datetime.timedelta(*[_number(n) for n in _list(body)]),
    "dt": lambda body: datetime.datetime.fromisoformat(body),
    "d": lambda body: datetime.date.fromisoformat(body),
    "tm": lambda body: datetime.time.fromisoformat(body),
    "ty": _type,
}
