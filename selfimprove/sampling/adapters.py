"""Adapters to plain weights: what the engine serves for a policy that was trained with LoRA.

Contract: `merge` writes a complete model directory whose weights are the base with the adapter folded in. Serving
merged weights costs one copy on disk per policy, and then samples at full speed with one way of replacing weights for
every policy: on a CPU an adapter served as such runs at less than half the speed.

See it work: ``pytest tests/sampling/test_vllm.py -k adapter``.
"""

from __future__ import annotations

from selfimprove.prompts import split_revision


def merge(source: str, adapter: str, output: str, trust_remote_code: bool = False) -> None:
    """Fold the PEFT adapter in the directory ``adapter`` into the model ``source``; write weights to ``output``."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    name, revision = split_revision(source)
    base = AutoModelForCausalLM.from_pretrained(
        name, revision=revision, dtype="auto", trust_remote_code=trust_remote_code
    )
    merged = PeftModel.from_pretrained(base, adapter).merge_and_unload()
    merged.save_pretrained(output)
