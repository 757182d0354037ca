"""Figures and how sure they are: intervals, paired differences, pass@k and maj@k.

Contract: pure functions over counts and booleans; no model, no files.

See it work: ``pytest tests/evaluate``.
"""

from selfimprove.evaluate.stats import maj_at_k, paired, pass_at_k, wilson

__all__ = ["maj_at_k", "paired", "pass_at_k", "wilson"]
