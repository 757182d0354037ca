"""A server judges: each problem and sample is posted to it as JSON.

Contract: many samples are under way at once. The server answers with ``{"outcome": "pass" | "fail" | "error"}``,
``{"passed": true}`` or ``{"score": 0.7}`` (then the configuration states a threshold), and may add ``score``,
``answer`` and ``reason``. Refused connections, other status codes (after ``tries`` for 429 and 5xx) and other answers
are errors, never a fail.

See it work: ``selfimprove run CONFIG verifier.name=http_judge 'verifier.args={url: "http://127.0.0.1:8000/judge"}'``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from selfimprove import Problem, Sample, conversation, erring

MAX_BYTES = 1 << 20


class http_judge:
    """``url`` of the server, ``headers`` (a token), ``tries``, ``wait_s`` before the second try (doubled each time)."""

    def __init__(self, url: str, headers: dict[str, str] | None = None, tries: int = 3, wait_s: float = 0.5) -> None:
        if not url.startswith(("http://", "https://")) or tries < 1:
            raise ValueError(f"http_judge: url is {url!r} and tries {tries}; http(s)://..., and from 1 on")
        self.url, self.headers, self.tries, self.wait_s = url, headers or {}, tries, wait_s
        self.client: Any = None

    async def __call__(self, problem: Problem, sample: Sample) -> Any:
        import httpx

        if self.client is None:
            self.client = httpx.AsyncClient(headers=self.headers, timeout=None)
        body = {
            "problem": {
                "id": problem.id,
                "prompt": conversation(problem.prompt)[0],
                "answer": problem.answer,
                "tests": problem.tests,
                "meta": dict(problem.meta),
            },
            "sample": {"id": sample.id, "completion": sample.prefix + sample.completion},
        }
        for tried in range(1, self.tries + 1):
            try:
                reply = await self.client.post(self.url, json=body)
            except httpx.TransportError as error:
                problem_seen = f"{type(error).__name__}: {error}"
            else:
                if reply.status_code == 200:
                    return verdict_of(reply)
                problem_seen = f"status {reply.status_code}"
                if reply.status_code != 429 and reply.status_code < 500:
                    break
            if tried < self.tries:
                await asyncio.sleep(self.wait_s * 2 ** (tried - 1))
        return erring("remote", f"{self.url}: {problem_seen}")


def verdict_of(reply: Any) -> Any:
    """What a reply says: the engine reads the mapping. Anything else is an error that says so."""
    try:
        said = reply.json() if len(reply.content) <= MAX_BYTES else None
    except ValueError:
        said = None
    return said if isinstance(said, dict) else erring("bad-answer", "the server did not answer with one JSON object")
