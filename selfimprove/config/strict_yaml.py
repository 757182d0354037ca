"""YAML without surprises: the part of YAML 1.2 that people mean, with a position for every key.

Contract: ``on``, ``yes`` and ``no`` are text, ``1e-5`` is a number, ``010`` is ten and nothing is a date or a time
of day. A key given twice, a tag, a key that is not text, a file over 1 MB or one that grows without bounds through
aliases is an error. Anchors, aliases and merge keys (``<<``) work. All faults of a file are reported together.

See it work: ``pytest tests/config/test_strict_yaml.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from selfimprove.config.tree import Fault, InvalidConfig, Key, Layer, Origin

MAX_BYTES = 1_000_000
MAX_VALUES = 50_000
MAX_DEPTH = 50

_CORE = {
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
}
_INF_NAN = re.compile(r"\.(inf|nan)", re.IGNORECASE)
_LINE_ENDS = re.compile("[\x85\u2028\u2029\ufeff]")
_PLAIN_WORDS = {
    "found character '\\t' that cannot start any token": "a tab cannot indent: use spaces",
    "mapping values are not allowed here": "a second ':' in one line: quote the value, or start a new line",
    "could not find expected ':'": "a key without ':'",
}


class _Loader(yaml.SafeLoader):
    """Composes nodes with the core schema's tags only; makes no objects."""

    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        event = self.peek_event()
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(
                None,
                None,
                f"tags such as {event.tag!r} are not allowed",
                event.start_mark,
            )
        if self.depth >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(None, None, f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Dumper(yaml.SafeDumper):
    """Quotes what either YAML version would read as something else than text."""


_Loader.yaml_implicit_resolvers = {}  # forget YAML 1.1's


def _text(dumper: _Dumper, text: str) -> ScalarNode:
    """PyYAML breaks lines at characters that it then reads back as spaces: such texts go in double quotes."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, '"' if _LINE_ENDS.search(text) else None)


_Dumper.add_representer(str, _text)
for _name, (_pattern, _first) in _CORE.items():
    for _class in (_Loader, _Dumper):
        _firsts = [c if c != "\0" else "" for c in _first]
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), _firsts)


def read(file: Path, shown: str) -> Layer:
    """The mapping in a file. Raises InvalidConfig with every fault, ConfigError's kin, if it cannot be used."""
    root = Origin("file", shown, file.parent, 1, 1)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InvalidConfig([Fault(root, "", f"cannot be read: {error.strerror}")]) from error
    if len(content) > MAX_BYTES:
        raise InvalidConfig(
            [
                Fault(
                    root,
                    "",
                    f"larger than {MAX_BYTES // 1_000_000} MB: not a configuration",
                )
            ]
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidConfig([Fault(replace(root, line=line), "", "not UTF-8 text")]) from error
    return parse(text, root)


def parse(text: str, root: Origin) -> Layer:
    """The mapping that a YAML text holds; positions are those in the text."""
    builder = _Builder(root)
    node = _compose(text, root)
    if node is None:
        return Layer(root)
    value = builder.build(node, ())
    if not isinstance(node, MappingNode):
        builder.faults.append(Fault(builder.at(node), "", "expected `key: value` lines"))
    if builder.faults:
        raise InvalidConfig(builder.faults)
    return Layer(root, value, builder.origins)


def parse_value(text: str, root: Origin) -> Any:
    """One value, as in ``key=value`` on the command line."""
    builder = _Builder(root)
    node = _compose(text, root)
    value = builder.build(node, ()) if node is not None else None
    if builder.faults:
        raise InvalidConfig(replace(fault, origin=root) for fault in builder.faults)
    return value


def dump(value: Any) -> str:
    """A YAML text that `parse` reads back as the same value, keys in the order given."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _compose(text: str, root: Origin) -> Node | None:
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = _PLAIN_WORDS.get(error.problem or "", error.problem or "")
        position = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        origin = replace(root, line=position[0], column=position[1]) if root.kind == "file" else root
        raise InvalidConfig([Fault(origin, "", f"not valid YAML: {problem}")]) from error
    except yaml.YAMLError as error:
        raise InvalidConfig([Fault(root, "", f"not valid YAML: {str(error).splitlines()[0]}")]) from error
    finally:
        if loader is not None:
            loader.dispose()


@dataclass
class _Builder:
    root: Origin
    origins: dict[Key, Origin] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    open: set[int] = field(default_factory=set)
    count: int = 0

    def at(self, node: Node) -> Origin:
        if self.root.kind != "file":
            return self.root
        mark = node.start_mark
        return replace(self.root, line=mark.line + 1, column=mark.column + 1)

    def fault(self, node: Node, key: Key, what: str) -> None:
        self.faults.append(Fault(self.at(node), ".".join(map(str, key)), what))

    def build(self, node: Node, key: Key) -> Any:
        self.count += 1
        if self.count == MAX_VALUES:
            self.fault(node, key, f"aliases make this larger than {MAX_VALUES} values")
        if id(node) in self.open:
            self.fault(node, key, "an alias that holds itself")
        if self.count >= MAX_VALUES or id(node) in self.open:
            return None
        if isinstance(node, ScalarNode):
            return self.scalar(node, key)
        self.open.add(id(node))
        value = self.sequence(node, key) if isinstance(node, SequenceNode) else self.mapping(node, key)
        self.open.discard(id(node))
        return value

    def scalar(self, node: ScalarNode, key: Key) -> Any:
        kind = node.tag.rpartition(":")[2]
        if kind == "null":
            return None
        if kind == "bool":
            return node.value.lower() == "true"
        if kind == "int" and len(node.value) > 100:
            self.fault(node, key, "a number of more than 100 digits")
            return 0
        if kind == "int":
            return int(node.value)
        return float(_INF_NAN.sub(r"\1", node.value)) if kind == "float" else node.value

    def sequence(self, node: SequenceNode, key: Key) -> list[Any]:
        values = []
        for index, item in enumerate(node.value):
            self.origins[(*key, index)] = self.at(item)
            values.append(self.build(item, (*key, index)))
        return values

    def mapping(self, node: Node, key: Key) -> dict[str, Any]:
        own: dict[str, Any] = {}
        first: dict[str, Node] = {}
        merges: list[Node] = []
        for name_node, value_node in node.value:
            if isinstance(name_node, ScalarNode) and name_node.value == "<<" and name_node.style is None:
                merges.append(value_node)
            elif not isinstance(name_node, ScalarNode) or not name_node.tag.endswith(":str"):
                shown = getattr(name_node, "value", "") if isinstance(name_node, ScalarNode) else ""
                self.fault(
                    name_node,
                    key,
                    f"keys are text: quote {shown!r}" if shown else "keys are text",
                )
            elif name_node.value in first:
                line = first[name_node.value].start_mark.line + 1
                column = first[name_node.value].start_mark.column + 1
                self.fault(
                    name_node,
                    (*key, name_node.value),
                    f"given twice, first at {line}:{column}",
                )
            else:
                first[name_node.value] = name_node
                self.origins[(*key, name_node.value)] = self.at(name_node)
                own[name_node.value] = self.build(value_node, (*key, name_node.value))
        for merged in merges:
            self.merge(merged, key, own)
        return own

    def merge(self, node: Node, key: Key, own: dict[str, Any]) -> None:
        """Add what ``<<`` brings, where the mapping does not say it itself."""
        for part in node.value if isinstance(node, SequenceNode) else [node]:
            if not isinstance(part, MappingNode):
                self.fault(part, key, "'<<' merges mappings only")
                continue
            inner = _Builder(self.root, {}, self.faults, self.open, self.count)
            value = inner.build(part, key)
            self.count = inner.count
            for name in [name for name in value or {} if name not in own]:
                own[name] = value[name]
                depth = len(key) + 1
                self.origins |= {k: o for k, o in inner.origins.items() if k[:depth] == (*key, name)}
