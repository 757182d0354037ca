"""Tables of plugins, for ``recipes ls`` and ``verifiers ls``.

Contract: reads sources only; one line for each plugin.

See it work: ``selfimprove recipes ls``.
"""

from __future__ import annotations

from selfimprove.cli.output import Result


def listing(kind: str) -> Result:
    """Every plugin of a kind: its name, the first line of its docstring, and where it comes from."""
    from selfimprove import plugins

    found = plugins.names(kind)
    width = max((len(name) for name, _, _ in found), default=0)
    lines = []
    for name, summary, origin in found:
        lines.append(f"{name:<{width}}  {summary}{'' if origin == 'built-in' else f' [{origin}]'}".rstrip())
    items = [{"name": name, "summary": summary, "origin": origin} for name, summary, origin in found]
    return Result({kind: items, "count": len(items)}, "\n".join(lines) or "none installed")
