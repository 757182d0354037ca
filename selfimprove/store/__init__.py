"""The run directory: steps that are published once, parts, fingerprints, the lease.

Contract: nothing outside this package opens a file of a run directory. A step is complete when its marker
exists; the marker is written last. See ``docs/decisions.md`` for the commit protocol.

See it work: ``pytest tests/store``.
"""
