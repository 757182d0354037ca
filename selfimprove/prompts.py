"""From messages to token ids: one rendering for sampling, training and evaluation.

Contract: `render` is the only way a prompt becomes token ids, so that what is trained on is what was sampled from.
A single message of role ``text`` is encoded as it stands, with the start token if the tokenizer adds one and never
an end token; anything else goes through the chat template with the generation prompt, and the template alone decides
about the start token and what ends a response. Nothing here imports torch; loading a tokenizer does, through
transformers.

See it work: ``pytest tests/test_prompts.py tests/test_templates.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfimprove.errors import ConfigError, PreconditionError
from selfimprove.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_UNENCODABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as the policy sees it: ``text`` (prefix included) and its token ids."""

    text: str
    ids: tuple[int, ...]


def split_revision(source: str) -> tuple[str, str | None]:
    """``org/name@revision`` as ``(name, revision)``; a local directory is never split."""
    if Path(source).is_dir() or "@" not in source:
        return source, None
    name, revision = source.rsplit("@", 1)
    return name, revision


def load_tokenizer(
    path: str, *, chat_template: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model directory or hub id, with the template file ``chat_template`` in place of its own.

    Raises PreconditionError if there is none and ConfigError if the template file cannot be read.
    """
    from transformers import AutoTokenizer

    name, revision = split_revision(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise PreconditionError(
            f"{path}: no tokenizer could be loaded: {error}",
            hint="the directory needs tokenizer.json and tokenizer_config.json beside the weights",
        ) from error
    if chat_template is not None:
        try:
            tokenizer.chat_template = Path(chat_template).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"model.chat_template: {chat_template} cannot be read: {error}") from error
    return tokenizer


@dataclass(frozen=True, slots=True)
class Style:
    """How conversations are rendered: ``system`` is said first unless the prompt has a system message of its own,
    ``options`` are handed to the template (``enable_thinking``)."""

    system: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> Style:
        """From a `ModelConfig` as a dictionary."""
        return cls(model.get("system_prompt"), model.get("chat_template_kwargs") or {})


PLAIN = Style()


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], prefix: str = "", style: Style = PLAIN
) -> Rendered:
    """The prompt ``messages``, with ``prefix`` as the start of the response, as text and token ids.

    Raises ConfigError (a ValueError) for text that cannot be encoded, a ``text`` message among others, and a chat
    prompt that the template is missing for or refuses.
    """
    for message in messages:
        _check(message.content, message.role)
    _check(prefix, "prefix")
    if any(message.role == "text" for message in messages):
        if len(messages) != 1:
            raise ConfigError("a prompt is one message of role 'text' or a conversation, not a mixture of both")
        return _render_plain(tokenizer, messages[0].content + prefix)
    text = _apply_template(tokenizer, messages, style) + prefix
    return Rendered(text, tuple(tokenizer.encode(text, add_special_tokens=False)))


def _check(text: str, where: str) -> None:
    """Refuse what no tokenizer can encode, by position, before it fails somewhere without one."""
    found = _UNENCODABLE.search(text)
    if found:
        kind = "a NUL character" if found.group() == "\0" else f"a lone surrogate (U+{ord(found.group()):04X})"
        raise ConfigError(
            f"{where}: {kind} at character {found.start()} cannot be part of a prompt",
            hint="repair the text where it is read (errors='replace')",
        )


def _render_plain(tokenizer: PreTrainedTokenizerBase, text: str) -> Rendered:
    ids = tuple(tokenizer.encode(text, add_special_tokens=False))
    start = _start_ids(tokenizer)
    return Rendered(text, ids if ids[: len(start)] == start else start + ids)


@lru_cache(maxsize=16)
def _start_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The special tokens this tokenizer puts before a text (those it puts after one are an end: never wanted)."""
    bare = tokenizer.encode("a", add_special_tokens=False)
    full = tokenizer.encode("a", add_special_tokens=True)
    for at in range(len(full) - len(bare) + 1):
        if full[at : at + len(bare)] == bare:
            return tuple(full[:at])
    return ()


def _apply_template(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], style: Style, answer: str | None = None
) -> str:
    """The conversation up to where the response begins, or with ``answer`` as the response, to its end."""
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise ConfigError(
            "the prompt is a conversation, but the model's tokenizer has no chat template",
            hint="give prompts as plain text, or set model.chat_template to a template file",
        )
    said, tools = conversation(messages, style)
    if answer is not None:
        said.append({"role": "assistant", "content": answer})
    try:
        return str(
            tokenizer.apply_chat_template(
                said,
                tools=tools,
                tokenize=False,
                add_generation_prompt=answer is None,
                **{**style.options, **template_kwargs(messages)},
            )
        )
    except TemplateError as error:
        roles = ", ".join(str(message["role"]) for message in said)
        raise ConfigError(f"the model's chat template refuses a conversation of roles {roles}: {error}") from error


def conversation(messages: Sequence[Message], style: Style = PLAIN) -> tuple[list[dict[str, Any]], list[Any] | None]:
    """Messages and tools as a template takes them."""
    tools, found = None, []
    for message in messages:
        if message.role == "tools":
            tools = json.loads(message.content)
        elif message.role != "template":
            whole = message.role == "json"
            found.append(json.loads(message.content) if whole else {"role": message.role, "content": message.content})
    if style.system and not any(message.get("role") in ("system", "developer") for message in found):
        found.insert(0, {"role": "system", "content": style.system})
    return found, tools


def template_kwargs(messages: Sequence[Message]) -> dict[str, Any]:
    """What the messages themselves tell their template."""
    return {name: value for m in messages if m.role == "template" for name, value in json.loads(m.content).items()}


_PROBE = "Well"


def turn_end(tokenizer: PreTrainedTokenizerBase, style: Style = PLAIN) -> tuple[int, ...]:
    """The special tokens that the chat template writes right after a response, mostly one; the last one ends it.

    Empty if there is no template, or if it writes none there.
    """
    if not tokenizer.chat_template:
        return ()
    try:
        text = _apply_template(tokenizer, [Message("user", "Hello?")], style, _PROBE)
    except ConfigError:  # a template that wants more than a question says no more of its end
        return ()
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    special.update(tokenizer.all_special_ids)
    ids = tokenizer.encode(text.rpartition(_PROBE)[2].lstrip(), add_special_tokens=False)
    return tuple(takewhile(special.__contains__, ids))


def end_token_ids(tokenizer: PreTrainedTokenizerBase, model_dir: str, style: Style = PLAIN) -> tuple[int, ...]:
    """The ids that end a response: the tokenizer's own first, then the template's and ``generation_config.json``'s.

    Models that stop at several tokens (an end of turn besides the end of text) list them only there; without that
    file, ``config.json`` is asked, as transformers does.
    """
    ids = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    ids += turn_end(tokenizer, style)[-1:]
    for name in ("generation_config.json", "config.json"):
        path = Path(model_dir, name)
        if path.is_file():
            listed = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
            ids += [listed] if isinstance(listed, int) else (listed or [])
            break
    return tuple(dict.fromkeys(ids))
