"""One row of a problem file: parsed, checked and turned into a problem's fields.

Contract: pure functions over one row; whatever is wrong with it is a `BadRow` that says what and how to mend it,
and the caller adds where. Values come out as plain JSON types without lone surrogates, so that every later step
can store them.

See it work: ``pytest tests/test_data.py``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from selfimprove.types import Message

COLUMNS = ("prompt", "answer", "completion", "tests", "task", "key")


class BadRow(ValueError):
    """What is wrong with one row, and the fix."""


def parse_json(line: bytes, answer: str) -> dict[str, Any]:
    """One line of JSONL as a dict. Numbers in the ``answer`` column become the text the line spells them with."""
    text = _decode(line)
    row = _loads(text)
    if not isinstance(row, dict):
        extra = "; a JSON array becomes JSONL with: jq -c '.[]'" if text.startswith("[") else ""
        raise BadRow(f"not a JSON object but {_kind(row)}{extra}")
    if _has_number(row.get(answer)):
        row[answer] = _loads(text, parse_float=str, parse_int=str)[answer]
    return plain(row, answer)


def plain(row: Any, answer: str) -> dict[str, Any]:
    """The row with plain JSON values: numbers in the answer, dates and decimals as text, NaN elsewhere as None."""
    if isinstance(row, BadRow):
        raise row
    if isinstance(row, UnicodeDecodeError):
        raise BadRow(f"a text that is not UTF-8: {row}")
    if not isinstance(row, Mapping):
        raise BadRow(f"a row must be a dict, got {_kind(row)}")
    return {_name(name): _plain(_answer(value) if name == answer else value, name) for name, value in row.items()}


def problem_fields(
    row: Mapping[str, Any], names: Mapping[str, str], require: Sequence[str], max_chars: int
) -> tuple[str | None, dict[str, Any]]:
    """The row's key and the keyword arguments of its `Problem` (all but the id)."""
    prompt_name = _prompt_column(row, names["prompt"])
    prompt, completion = _prompt(row[prompt_name], max_chars)
    given = {role: row.get(names[role]) for role in COLUMNS[1:]}
    if completion is not None and given["completion"] is not None:
        raise BadRow(f"{prompt_name!r} ends with an assistant message and there is a completion too; keep one of them")
    completion = _completion(given["completion"]) if completion is None else completion
    prompt = _with_tools(prompt, row.get("tools"))
    given |= {"prompt": prompt, "completion": completion}
    for role in require:
        if given[role] is None:
            raise BadRow(f"no {role}; this source needs column {names[role]!r} in every row")
    meta = {name: value for name, value in row.items() if name not in (*names.values(), prompt_name, "tools")}
    if "demonstration" in meta:
        raise BadRow("a column may not be called 'demonstration'; use 'completion' (or columns.completion)")
    if completion is not None:
        meta["demonstration"] = completion
    fields = {"prompt": prompt, "answer": given["answer"], "tests": given["tests"], "meta": meta}
    return _key(given["key"]), {**fields, "task": _task(given["task"])}


def _decode(line: bytes) -> str:
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadRow("UTF-16, not UTF-8; convert it: iconv -f utf-16 -t utf-8")
    try:
        return line.removeprefix(b"\xef\xbb\xbf").decode().strip()
    except UnicodeDecodeError as error:
        byte = line[error.start]
        raise BadRow(f"not UTF-8: byte 0x{byte:02x} at position {error.start + 1}; convert it with iconv") from error


def _loads(text: str, **hooks: Any) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique, **hooks)
    except json.JSONDecodeError as error:
        raise BadRow(f"invalid JSON at column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise BadRow("invalid JSON: nested too deeply") from error
    except BadRow:
        raise
    except ValueError as error:
        raise BadRow("a number with more than 4,300 digits; put it in quotes") from error


def _no_constant(text: str) -> Any:
    raise BadRow(f"{text} is not JSON and no number; use null, or put it in quotes if it is text")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        twice = next(name for place, (name, _) in enumerate(pairs) if name in dict(pairs[:place]))
        raise BadRow(f"{twice!r} appears twice in one object; remove one of them")
    return result


def _has_number(value: Any) -> bool:
    if isinstance(value, list | dict):
        return any(_has_number(item) for item in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, str):
        return _text(value, where)
    if value is None or isinstance(value, int | float):
        return value if value is None else _number(value, where)
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if isinstance(value, Mapping):
        return {_name(name): _plain(item, where) for name, item in value.items()}
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    raise BadRow(f"{where!r} holds {_kind(value)}, which is not text, a number, a list or a dict; leave it out")


def _number(value: int | float, where: str) -> int | float | None:
    if isinstance(value, int):
        if value.bit_length() > 14_000:
            raise BadRow(f"{where!r} holds a number with more than 4,200 digits; put it in quotes")
        return value
    if math.isinf(value):
        raise BadRow(f"{where!r} holds {value}, which is not finite; use null, or put it in quotes if it is text")
    return None if math.isnan(value) else value


def _text(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = ord(value[error.start])
        what = f"{where!r} holds a lone surrogate (\\u{code:04x}) at character {error.start + 1}"
        raise BadRow(f"{what}, which no text can hold; remove it") from error
    return value


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise BadRow(f"a name must be text, got {_kind(name)} ({name!r})")
    return _text(name, "a name")


def _prompt_column(row: Mapping[str, Any], name: str) -> str:
    usual = next((other for other in ("messages", "conversations") if other in row), name)
    found = usual if name == "prompt" and row.get("prompt") is None else name
    if row.get(found) is None:
        what = f"{found!r} is null" if found in row else f"no {found!r}; the row has: {', '.join(row) or 'nothing'}"
        raise BadRow(f"{what}; every problem needs a prompt (columns.prompt names its column)")
    return found


def _prompt(value: Any, max_chars: int) -> tuple[tuple[Message, ...], str | None]:
    """The prompt's messages, and the completion if the conversation ends with an assistant's message."""
    if isinstance(value, str):
        prompt, completion = _conversation([Message("text", value)])
    elif isinstance(value, list):
        prompt, completion = _conversation([_message(item) for item in value])
    else:
        raise BadRow(f"the prompt must be text or a list of messages, got {_kind(value)}")
    size = sum(len(message.content) for message in prompt)
    if size > max_chars:
        what = f"the prompt has {size:,} characters, more than max_prompt_chars ({max_chars:,})"
        raise BadRow(f"{what}; shorten it, or raise args.max_prompt_chars of this source")
    if not any(message.content.strip() for message in prompt):
        raise BadRow("empty prompt; write one or remove the row")
    for message in prompt:
        _no_nul(message.content, "the prompt")
    return prompt, completion


def _conversation(items: list[Message]) -> tuple[tuple[Message, ...], str | None]:
    if len(items) > 1 and any(message.role == "text" for message in items):
        raise BadRow("role 'text' is for a single bare message; use user, assistant and system in a conversation")
    if items and items[-1].role == "json" and json.loads(items[-1].content)["role"] == "assistant":
        raise BadRow(
            "the conversation ends with an assistant message that calls tools; end it before, or after a reply"
        )
    if items and items[-1].role == "assistant":
        return tuple(items[:-1]), _completion(items[-1].content)
    return tuple(items), None


def _with_tools(prompt: tuple[Message, ...], tools: Any) -> tuple[Message, ...]:
    """The conversation with the tools that it may use, as the chat template shows them."""
    if not tools:
        return prompt
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise BadRow(f"'tools' must be a list of objects, as a chat template takes them, got {_kind(tools)}")
    if prompt[0].role == "text":
        raise BadRow("'tools' need a conversation; write the prompt as messages")
    return (Message("tools", json.dumps(tools, sort_keys=True, ensure_ascii=False)), *prompt)


def _message(item: Any) -> Message:
    item = _from_sharegpt(item)
    role, content = (item.get("role"), item.get("content")) if isinstance(item, Mapping) else (None, None)
    content = "" if content is None and isinstance(item, Mapping) and item.get("tool_calls") else content
    if not isinstance(role, str) or not role or not isinstance(content, str):
        raise BadRow('a message must be {"role": text, "content": text}' + f", got {item!r:.80}")
    if any(value is not None for name, value in item.items() if name not in ("role", "content")):
        return Message("json", json.dumps(item, sort_keys=True, ensure_ascii=False))
    return Message(role, content)


def _from_sharegpt(item: Any) -> Any:
    """A message written as ``{"from": "human", "value": ...}``, in the words of chat templates."""
    if not isinstance(item, Mapping) or "from" not in item or "role" in item:
        return item
    roles = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}
    return {"role": roles.get(item["from"], item["from"]), "content": item.get("value")}


def answer_by(pattern: re.Pattern[str], answer: Any, completion: str | None) -> str:
    """What ``pattern`` finds last in the answer, or without one in the completion."""
    text = answer if isinstance(answer, str) else completion if answer is None else str(answer)
    found = list(pattern.finditer(text or ""))
    if not found:
        raise BadRow(f"columns.answer_pattern {pattern.pattern!r} matches nothing in {(text or '')[-60:]!r}")
    return str(found[-1][1 if pattern.groups else 0]).strip()


def _completion(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 1 and _message(value[0]).role == "assistant":
        value = value[0]["content"]
    if not isinstance(value, str):
        raise BadRow(f"the completion must be text, got {_kind(value)}")
    if not value.strip():
        raise BadRow("empty completion; write one, or null if there is none")
    return _no_nul(value, "the completion")


def _answer(value: Any) -> Any:
    """Numbers become text, in lists and dicts too; text is checked."""
    if isinstance(value, str):
        return _no_nul(value, "the answer")
    if isinstance(value, list | tuple):
        return [_answer(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _answer(item) for name, item in value.items()}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRow(f"the answer is {value}, which is no number; use null if there is none")
    return str(_number(value, "answer"))


def _key(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadRow(f"the key must be text or a whole number, got {_kind(value)}")
    return _no_nul(str(value), "the key")


def _task(value: Any) -> str:
    if value is None:
        return "default"
    if not isinstance(value, str) or not value.strip():
        raise BadRow(f"the task must be a name, got {value!r:.40}")
    return _no_nul(value, "the task")


def _no_nul(text: str, where: str) -> str:
    place = text.find("\0")
    if place >= 0:
        raise BadRow(f"{where} holds a NUL character (\\u0000) at character {place + 1}; remove it")
    return text


def _kind(value: Any) -> str:
    named = {"NoneType": "null", "str": "text", "bool": "true/false", "int": "a number", "float": "a number"}
    named |= {"list": "a list", "dict": "an object", "bytes": "bytes"}
    return named.get(type(value).__name__, f"a value of type {type(value).__name__}")
