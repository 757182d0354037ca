"""No verification: every sample that the policy ended itself is accepted.

Contract: for methods that filter nothing (they take the model's own samples as they are) and for dry runs.

See it work: ``selfimprove run CONFIG verifier=none``.
"""

from __future__ import annotations

from selfimprove import Problem, Sample


def none(problem: Problem, sample: Sample) -> bool:
    """Accept everything."""
    return True
