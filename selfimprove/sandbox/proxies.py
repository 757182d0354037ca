"""The judge's side of the wall: a candidate's functions and objects as trusted tests see them.

Contract: what comes back is a plain value, or a `Remote` handle that decides nothing: it never equals a plain value,
never orders, and takes part in no arithmetic with one, so that no method of the candidate's sees what a test compares
with. The candidate's exceptions come as the builtin class they derive from, but for the kinds by which a test ends
quietly. Once the cell is gone every use raises `CandidateGone`, which no ``except Exception`` of a test swallows.

See it work: ``pytest tests/verifiers/test_unit_tests.py``.
"""

from __future__ import annotations

import builtins
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from selfimprove.sandbox.client import Cell, CellGarbage, CellTimeout
from selfimprove.sandbox.values import BadValue, dumps, loads, pack, unpack

QUIET = {
    "StopIteration", "StopAsyncIteration", "AssertionError", "GeneratorExit", "KeyboardInterrupt", "SystemExit",
    "BaseExceptionGroup",
}  # fmt: skip


class CandidateError(Exception):
    """The candidate raised something that a test must not take for its own."""


class Exhausted(CandidateError):
    """An iterator of the candidate's has ended."""


class CandidateGone(BaseException):
    """The candidate's cell has ended, is out of time, or speaks nonsense."""


class Candidate:
    """A program in a cell. ``shared`` are classes of the trusted prompt: their instances cross by value."""

    def __init__(self, cell: Cell, shared: dict[str, type], inplace: bool = False) -> None:
        self.cell, self.shared, self.inplace = cell, shared, inplace
        self.gone = ""
        self.callbacks: list[Callable[..., Any]] = []
        self.names: dict[str, str] = {}
        self.exceptions: dict[str, type[Exception]] = {}

    def load(self) -> None:
        """Wait until the program is loaded. CandidateGone with the reason if it cannot be."""
        message = self._receive()
        names = message.get("ok")
        if not isinstance(names, dict) or not all(isinstance(kind, str) for kind in names.values()):
            raise self._lost(str(message.get("bad", "no program"))[:300])
        self.names = names

    def function(self, name: str) -> Function:
        return Function(self, {"name": name}, name)

    def named(self, name: str) -> Any:
        """What the program calls ``name``: a function or class, an exception class, or a value of the moment."""
        kind = self.names[name]
        if kind == "exception":
            return self.exception(name)
        made = self.function(name)
        return self.do("value", None, [made]) if kind == "value" else made

    def do(self, what: str, on: Any, args: list[Any], kwargs: dict[str, Any] | None = None) -> Any:
        """One request; callbacks that come before its answer are served. Raises what the candidate raised."""
        if self.gone:
            raise CandidateGone(self.gone)
        inplace = self.inplace and what == "call"
        packed = {"args": self._packed(args), "kwargs": self._packed(kwargs or {})}
        self._send({"do": what, "on": on, **packed, "inplace": inplace})
        message = self._receive()
        while "cb" in message:
            self._send(self._called_back(message))
            message = self._receive()
        if "raised" in message:
            raise self._exception(message["raised"])
        try:
            value = unpack(message["value"], self._theirs)
            changed = unpack(message["args"], self._theirs) if inplace else []
        except (BadValue, KeyError) as error:
            raise self._lost(f"it sent what is no value: {error}") from error
        if isinstance(changed, list):
            for mine, theirs in zip(args, changed, strict=False):
                _write_back(mine, theirs)
        return value

    def _packed(self, value: Any) -> Any:
        return pack(value, self._mine)

    def _mine(self, value: Any) -> Any:
        if isinstance(value, Remote | Function):
            return value._reference
        name = type(value).__name__
        if self.shared.get(name) is type(value):
            return {"inst": name, "state": self._packed(dict(value.__dict__))}
        if callable(value):
            self.callbacks.append(value)
            return {"cb": len(self.callbacks) - 1}
        raise BadValue(f"a test hands over a {name}, which cannot cross")

    def _theirs(self, body: Any) -> Any:
        if not isinstance(body, dict):
            raise BadValue("not a reference")
        if "plain" in body:
            return unpack(body["plain"], self._theirs)
        if "inst" in body:
            made: Any = object.__new__(self.shared[body["inst"]])
            made.__dict__.update(unpack(body["state"], self._theirs))
            return made
        if type(body.get("h")) is not int or not isinstance(body.get("class"), str):
            raise BadValue("not a reference")
        return Remote(self, {"h": body["h"]}, body["class"], body.get("truth") is True, body.get("iterator") is True)

    def _called_back(self, message: dict[str, Any]) -> dict[str, Any]:
        """Call a function of the tests for the candidate."""
        try:
            function = self.callbacks[message["cb"]]
            args, kwargs = unpack(message["args"], self._theirs), unpack(message["kwargs"], self._theirs)
        except (BadValue, KeyError, TypeError, IndexError) as error:
            raise self._lost("it calls what is no function") from error
        try:
            return {"answer": self._packed(function(*args, **kwargs))}
        except Exception as error:  # a function of the tests fails on what the candidate gave it
            return {"raise": [type(error).__name__, str(error)[:300]]}

    def _exception(self, said: Any) -> BaseException:
        if not isinstance(said, list) or len(said) != 3 or not isinstance(said[0], list):
            return self._lost("it sent what is no exception")
        kinds, name, words = [str(kind) for kind in said[0]], str(said[1]), str(said[2])
        if name in self.exceptions:
            return self.exceptions[name](words)
        if "StopIteration" in kinds:
            return Exhausted(f"{name}: {words}")
        kind = getattr(builtins, kinds[0], None) if kinds else None
        if set(kinds) & QUIET or not (isinstance(kind, type) and issubclass(kind, Exception)):
            return CandidateError(f"{name}: {words}")
        try:
            return kind(words)
        except TypeError:  # UnicodeDecodeError and its like want more than words
            return CandidateError(f"{name}: {words}")

    def exception(self, name: str) -> type[Exception]:
        """A class of the judge's own that stands for an exception class of the candidate's."""
        return self.exceptions.setdefault(name, type(name, (Exception,), {}))

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self.cell.send(dumps(message))
        except CellTimeout as error:
            raise self._lost("timeout") from error

    def _receive(self) -> dict[str, Any]:
        try:
            payload = self.cell.receive()
            message = loads(payload) if payload is not None else None
        except CellTimeout as error:
            raise self._lost("timeout") from error
        except (CellGarbage, BadValue) as error:
            raise self._lost("it sent what is no message") from error
        if not isinstance(message, dict):
            raise self._lost("its process ended" if message is None else "it sent what is no message")
        return message

    def _lost(self, why: str) -> CandidateGone:
        self.gone = self.gone or why
        return CandidateGone(why)


class Function:
    """A function or class of the candidate's."""

    def __init__(self, candidate: Candidate, reference: Any, name: str) -> None:
        self._candidate, self._reference, self.__name__ = candidate, reference, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._candidate.do("call", self._reference, list(args), kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._candidate.do("get", None, [self, name])

    def __instancecheck__(self, instance: Any) -> bool:
        """``isinstance`` with a class of the candidate's: of its objects only."""
        return isinstance(instance, Remote) and instance._kind == self.__name__


class Remote:
    """An object of the candidate's that is no plain value."""

    def __init__(self, candidate: Candidate, reference: Any, kind: str, truth: bool, iterator: bool) -> None:
        values = (candidate, reference, kind, truth, iterator)
        for name, value in zip(("_candidate", "_reference", "_kind", "_truth", "_iterator"), values, strict=True):
            object.__setattr__(self, name, value)

    def _do(self, what: str, *args: Any) -> Any:
        return self._candidate.do(what, None, [self, *args])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._candidate.do("call", self._reference, list(args), kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._do("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._do("set", name, value)

    def __eq__(self, other: Any) -> bool:
        """Objects of one class and with equal states; what the candidate's own ``__eq__`` says counts for nothing."""
        if not isinstance(other, Remote):
            return False
        if self._reference == other._reference:
            return True
        if self._kind != other._kind or self._iterator:
            return False
        mine = self._do("state")
        return bool(mine) and mine == other._do("state")

    def __hash__(self) -> int:
        return hash(str(self._reference))

    def __bool__(self) -> bool:
        return bool(self._truth)

    def __len__(self) -> int:
        return int(self._number("len"))

    def __iter__(self) -> Iterator[Any]:
        source = self if self._iterator else self._do("iter")
        while isinstance(source, Remote):
            try:
                item = source._do("next")
            except Exhausted:
                return
            yield item

    def __next__(self) -> Any:
        try:
            return self._do("next")
        except Exhausted:
            raise StopIteration from None

    def __getitem__(self, key: Any) -> Any:
        return self._do("item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._do("setitem", key, value)

    def __str__(self) -> str:
        return self._text("str")

    def __repr__(self) -> str:
        return self._text("repr")

    def __float__(self) -> float:
        return float(self._number("float"))

    def __int__(self) -> int:
        return int(self._number("int"))

    def __enter__(self) -> Any:
        return self._do("enter")

    def __exit__(self, *_: Any) -> None:
        self._do("exit")

    def __add__(self, other: Any) -> Any:
        return self._with("add", other)

    def __sub__(self, other: Any) -> Any:
        return self._with("sub", other)

    def __mul__(self, other: Any) -> Any:
        return self._with("mul", other)

    def _with(self, what: str, other: Any) -> Any:
        """Arithmetic between two objects of the candidate's only: what a test compares with stays here."""
        return self._do(what, other) if isinstance(other, Remote) else NotImplemented

    def _number(self, what: str) -> Any:
        value = self._do(what)
        if type(value) not in (int, float):
            raise TypeError(f"{what}() of the candidate's object is no number")
        return value

    def _text(self, what: str) -> str:
        value = self._do(what)
        if type(value) is not str:
            raise TypeError(f"{what}() of the candidate's object is no text")
        return value


def _write_back(mine: Any, changed: Any) -> None:
    """Make an argument what the candidate made of it, for tasks that work in place."""
    if type(mine) is not type(changed):
        return
    if isinstance(mine, list | bytearray):
        mine[:] = changed
    elif isinstance(mine, dict | set):
        mine.clear()
        mine.update(changed)
    elif isinstance(mine, deque):
        mine.clear()
        mine.extend(changed)
