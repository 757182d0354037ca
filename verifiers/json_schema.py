"""The completion is JSON of a given shape.

Contract: the whole completion (or its one fenced block) must be strict JSON: no key twice, no NaN, nothing around it.
It must satisfy the JSON Schema in ``schema`` or, without one, in the problem's answer (a mapping, or its text).

See it work: ``selfimprove run CONFIG verifier=json_schema``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from selfimprove import Problem, Sample, Verdict, failing, passing
from selfimprove import text as writing

MAX_CHARS = 200_000
_FENCED = re.compile(r"\A\s*```(?:json)?[ \t]*\n(.*?)\n[ \t]*```\s*\Z", re.S)


class json_schema:
    """``schema`` for all problems; without it each problem's answer is one. Raises ValueError for what is no schema."""

    def __init__(self, schema: Mapping[str, Any] | None = None) -> None:
        self.known: dict[str, Any] = {}
        self.schema = schema
        if schema is not None:
            self._validator(schema)

    def __call__(self, problem: Problem, sample: Sample) -> Verdict:
        given = self.schema if self.schema is not None else problem.answer
        schema = json.loads(given) if isinstance(given, str) else given
        if not isinstance(schema, Mapping):
            raise ValueError(
                f"problem {problem.id!r} has no JSON Schema as its answer, and verifier.args has no schema"
            )
        text = writing.own_words(sample.prefix + sample.completion)[:MAX_CHARS]
        fenced = _FENCED.match(text)
        try:
            value = json.loads(fenced[1] if fenced else text, object_pairs_hook=_unique, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            return failing(f"not JSON: {str(error)[:200]}")
        wrong = next(iter(self._validator(schema).iter_errors(value)), None)
        if wrong is not None:
            where = "/".join(map(str, wrong.absolute_path))
            return failing(f"at /{where}: {wrong.message[:200]}")
        return passing(answer=json.dumps(value, sort_keys=True)[:1000])

    def _validator(self, schema: Mapping[str, Any]) -> Any:
        import jsonschema

        key = json.dumps(schema, sort_keys=True)
        if key not in self.known:
            kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
            try:
                kind.check_schema(schema)
            except jsonschema.SchemaError as error:
                raise ValueError(f"not a JSON Schema: {error.message}") from error
            self.known[key] = kind(schema)
        return self.known[key]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a key stands there twice")
    return dict(pairs)


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")
