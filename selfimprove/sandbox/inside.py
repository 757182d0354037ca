"""What runs in a cell: a candidate's program, and its answers to the judge's calls.

Contract: everything here is at the candidate's mercy, so nothing here is trusted: the judge outside checks every byte.
It never holds a test or an expected value, only the arguments of the call under way. Standard library only.

See it work: ``pytest tests/verifiers/test_unit_tests.py``.
"""

from __future__ import annotations

import ast
import builtins
import json
import os
import sys
import textwrap
import types
from typing import Any

from selfimprove.sandbox.values import BadValue, dumps, loads, pack, unpack
from selfimprove.sandbox.zygote import frame_read, frame_write

builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]  # a bare interpreter lacks what `site` adds

OPERATIONS = {
    "str": str, "repr": repr, "len": len, "iter": iter, "next": next, "float": float, "int": int, "abs": abs,
    "neg": lambda one: -one, "item": lambda one, key: one[key], "enter": lambda one: one.__enter__(),
    "exit": lambda one: one.__exit__(None, None, None), "get": getattr, "set": setattr,
    "setitem": lambda one, key, value: one.__setitem__(key, value), "round": round, "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "value": lambda one: one,
}  # fmt: skip


def script(channel: int) -> None:
    """Run a whole program as ``__main__``: its standard input and output are those of the cell."""
    job = json.loads(frame_read(channel) or b"{}")
    os.close(channel)
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv = ["solution.py"]
    try:
        for code in _program(job):
            exec(code, module.__dict__)
        sys.stdout.flush()
    except SystemExit as end:
        sys.stdout.flush()
        raise SystemExit(end.code if isinstance(end.code, int) or end.code is None else 1) from None


def warm() -> None:
    """Do once what every cell does: what Python sets up at first use is then shared, not set up in each cell."""
    for _ in range(20):
        names: dict[str, Any] = {}
        for code in _program({"blocks": ["import math\ndef one(n: int = 1) -> list:\n    return [n, 'a', 0.5, {}]\n"]}):
            exec(code, names)
        server = Server(-1)
        server.module.__dict__.update(names)
        call = {"do": "call", "on": {"name": "one"}, "args": pack([1], server.opaque), "kwargs": ["m", []]}
        loads(dumps(server.handled(loads(dumps(call)))))
        _kind(names["one"])
    ast.parse("pass")


def serve(channel: int) -> None:
    """Load a program, then answer calls until the judge closes the channel."""
    Server(channel).run()


def _compiled(text: str) -> types.CodeType | None:
    try:
        return compile(text, "<solution>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None


def _program(job: dict[str, Any]) -> list[types.CodeType]:
    """The code to run: the prompt's helpers, then the candidate's blocks. Raises ValueError saying what is wrong."""
    blocks, prompt, entry = job["blocks"], job.get("prompt") or "", job.get("entry") or ""
    prelude = _prelude(prompt, entry)
    found = [_compiled(block) for block in blocks]
    if blocks and found[-1] is None and prompt:
        joined = _compiled(f"{prompt.rstrip(chr(10))}\n{blocks[-1]}")  # the prompt's function, continued
        if joined is not None:
            return [joined]
    if blocks and found[-1] is None:
        found[-1] = _compiled(textwrap.dedent(blocks[-1]))
    if not blocks or found[-1] is None:
        raise ValueError("the program is not valid Python")
    return [*prelude, *(code for code in found if code is not None)]


def _prelude(prompt: str, entry: str) -> list[types.CodeType]:
    """What the prompt's code defines besides the function that is asked for."""
    if not prompt:
        return []
    for text in (prompt, f"{prompt.rstrip()}\n    pass\n"):
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            continue
        tree.body = [node for node in tree.body if getattr(node, "name", None) != entry]
        return [compile(tree, "<prompt>", "exec", dont_inherit=True)]
    return []


class Server:
    """Answers one request at a time; a callback into the judge may bring further requests before its answer."""

    def __init__(self, channel: int) -> None:
        self.channel = channel
        self.objects: list[Any] = []
        self.module = types.ModuleType("solution")
        self.shared: set[str] = set()

    def run(self) -> None:
        job = loads(frame_read(self.channel) or b"")
        sys.modules["solution"] = self.module
        self.shared = set(job.get("shared") or ())
        try:
            for code in _program(job):
                exec(code, self.module.__dict__)
        except BaseException as error:  # the candidate's program may do anything while it is loaded
            self.say({"bad": f"{type(error).__name__}: {error}"[:300]})
            return
        entry = job.get("entry")
        if entry and not callable(self.module.__dict__.get(entry)):
            self.say({"bad": f"it defines no function {entry!r}"[:300]})
            return
        names = {name: _kind(value) for name, value in list(self.module.__dict__.items()) if name[:2] != "__"}
        self.say({"ok": names})
        self.until_answer()

    def say(self, message: Any) -> None:
        frame_write(self.channel, dumps(message))

    def until_answer(self) -> Any:
        """Serve requests until the judge answers a callback, or closes the channel."""
        while True:
            payload = frame_read(self.channel)
            if payload is None:
                os._exit(0)
            message = loads(payload)
            if "answer" in message or "raise" in message:
                return message
            self.say(self.handled(message))

    def handled(self, message: dict[str, Any]) -> dict[str, Any]:
        args: Any = []
        function: Any
        try:
            args = unpack(message["args"], self.mine)
            kwargs = unpack(message.get("kwargs", ["m", []]), self.mine)
            what = message["do"]
            function = (
                self.mine(message["on"]) if what == "call" else self.state if what == "state" else OPERATIONS[what]
            )
            value = function(*args, **kwargs)
            reply = {"value": pack(value, self.opaque)}
            if message.get("inplace"):
                reply["args"] = pack(args, self.opaque)
            return reply
        except BaseException as error:  # whatever the candidate raises is its answer
            return {"raised": _raised(error)}

    def state(self, one: Any) -> Any:
        """What tells two objects of one class apart."""
        fields = dict(getattr(one, "__dict__", {}))
        for base in type(one).__mro__:
            slots = base.__dict__.get("__slots__", ())
            fields |= {
                name: getattr(one, name)
                for name in ([slots] if isinstance(slots, str) else slots)
                if hasattr(one, name)
            }
        return fields

    def mine(self, body: Any) -> Any:
        """What the judge refers to: an object of this side, a function of that side, an instance of a shared class."""
        if "h" in body:
            return self.objects[body["h"]]
        if "name" in body:
            return self.module.__dict__[body["name"]]
        if "cb" in body:
            return self.callback(body["cb"])
        made = object.__new__(self.module.__dict__[body["inst"]])
        made.__dict__.update(unpack(body["state"], self.mine))
        return made

    def callback(self, number: int) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.say({"cb": number, "args": pack(list(args), self.opaque), "kwargs": pack(kwargs, self.opaque)})
            message = self.until_answer()
            if "raise" in message:
                raise getattr(builtins, message["raise"][0], Exception)(message["raise"][1])
            return unpack(message["answer"], self.mine)

        return call

    def opaque(self, value: Any) -> Any:
        kind = type(value)
        if kind.__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
            return {"plain": pack(value.tolist(), self.opaque)}
        if kind.__name__ in self.shared and self.module.__dict__.get(kind.__name__) is kind:
            return {"inst": kind.__name__, "state": pack(dict(value.__dict__), self.opaque)}
        number = next((place for place, known in enumerate(self.objects) if known is value), len(self.objects))
        if number == len(self.objects):
            self.objects.append(value)
        try:
            truth = bool(value)
        except Exception:  # its own affair
            truth = True
        return {"h": number, "class": str(kind.__name__), "truth": truth, "iterator": hasattr(kind, "__next__")}


def _kind(value: Any) -> str:
    if isinstance(value, types.ModuleType):
        return f"module {value.__name__}"
    if isinstance(value, type):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if callable(value) else "value"


def _raised(error: BaseException) -> list[Any]:
    """Names of the builtin classes of an exception, its own name and its words."""
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    try:
        words = str(error)[:1000]
    except Exception:  # a class of the candidate's may fail to print itself
        words = ""
    if isinstance(error, BadValue):
        kinds = ["BadValue"]
    return [kinds, type(error).__name__, words]
