"""Tiny models for tests, examples and benchmarks: built on the spot, offline, in a second.

Contract: a pure helper. `tiny_llama` and `tiny_qwen3` write a random model of a few hundred thousand parameters
with a character-level tokenizer into a directory that transformers, TRL and vLLM load; the same arguments give the
same bytes. Nothing else in the package depends on this module.

See it work: ``python -c "from selfimprove.testing import tiny_llama; print(tiny_llama('tiny'))"``.
"""

from __future__ import annotations

from typing import Any

PRINTABLE = "\n" + "".join(chr(code) for code in range(32, 127))
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def character_tokenizer(vocabulary: str | None = None, *, chat_template: bool = False, add_bos: bool = True) -> Any:
    """A tokenizer with one token per character of ``vocabulary`` (default: printable ASCII and newline).

    Ids 0 to 3 are ``<pad> <bos> <eos> <unk>``; decoding inserts nothing, so text comes back as it went in.
    ``chat_template`` adds role tokens and a template, ``add_bos`` a ``<bos>`` before plain text.
    """
    from tokenizers import Tokenizer, decoders, models, processors
    from transformers import PreTrainedTokenizerFast

    characters = dict.fromkeys(PRINTABLE if vocabulary is None else vocabulary)
    tokens = [*SPECIALS, *(ROLES if chat_template else ()), *characters]
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, [], unk_token="<unk>"))
    backend.decoder = decoders.Fuse()
    if add_bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=list(ROLES) if chat_template else [],
        chat_template=CHAT_TEMPLATE if chat_template else None,
        clean_up_tokenization_spaces=False,
    )


def _write(
    family: str,
    output: str,
    *,
    hidden_size: int,
    layers: int,
    heads: int,
    vocabulary: str | None,
    seed: int,
    tie_word_embeddings: bool,
    chat_template: bool,
    max_position_embeddings: int,
    dtype: str,
) -> str:
    import torch
    import transformers

    tokenizer = character_tokenizer(vocabulary, chat_template=chat_template)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=hidden_size // heads,
        max_position_embeddings=max_position_embeddings,
        tie_word_embeddings=tie_word_embeddings,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, f"{family}ForCausalLM")(config)
    model.generation_config = transformers.GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    model.to(getattr(torch, dtype)).save_pretrained(output)
    tokenizer.save_pretrained(output)
    return output


def tiny_llama(
    output: str,
    *,
    hidden_size: int = 128,
    layers: int = 3,
    heads: int = 4,
    vocabulary: str | None = None,
    seed: int = 0,
    tie_word_embeddings: bool = True,
    chat_template: bool = False,
    max_position_embeddings: int = 256,
    dtype: str = "float32",
) -> str:
    """Write a random Llama into the directory ``output`` and return that path.

    The default has 0.6 M parameters. ``vocabulary`` lists the characters it can read and write; anything else
    becomes ``<unk>``. ``max_position_embeddings`` is its context in tokens (= characters).
    """
    return _write(
        "Llama",
        output,
        hidden_size=hidden_size,
        layers=layers,
        heads=heads,
        vocabulary=vocabulary,
        seed=seed,
        tie_word_embeddings=tie_word_embeddings,
        chat_template=chat_template,
        max_position_embeddings=max_position_embeddings,
        dtype=dtype,
    )


def tiny_qwen3(output: str, **options: Any) -> str:
    """`tiny_llama` with the Qwen3 architecture (normalised queries and keys) and the same options."""
    return _write("Qwen3", output, **{**(tiny_llama.__kwdefaults__ or {}), **options})
