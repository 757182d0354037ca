"""Ratios against raw baselines, measured in one run.

Contract: a benchmark prints figures beside their targets and never passes or fails on a time: machines differ, and a
ratio of two things measured in turns on the same machine is what can be compared. Every measurement is repeated and
the median of the pairs is what is quoted. Nothing here is imported by `selfimprove`.

See it work: ``make bench``, or ``python -m benchmarks attempt --pairs 3``.
"""
