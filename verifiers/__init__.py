"""Verifiers, one file per way of judging. See ``selfimprove verifiers ls``."""
