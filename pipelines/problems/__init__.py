"""Problem generators: one file each, offline, named in a config by the file's name.

Contract: ``def NAME(n: int, seed: int, **args) -> Iterator[dict]`` gives ``n`` rows as a JSONL file would hold them
(``prompt``, ``answer``, and if known ``completion``, ``tests``, ``task``); the same arguments give the same rows.
In a config: ``data: {problems: {source: arithmetic, args: {n: 10000, seed: 0}}}``.

See it work: ``pytest tests/problems``.
"""
