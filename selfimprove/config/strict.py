"""What all mappings of a configuration have in common: nothing unknown, nothing converted; perhaps a short form.

Contract: base classes only. See it work: ``pytest tests/config``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Strict(BaseModel):
    """Refuses what it does not know and converts nothing."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        validate_default=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )


class Shorthand(Strict):
    """A mapping that may also be written as a bare text, which then is its field ``shorthand``."""

    shorthand: ClassVar[str] = "name"

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        return {cls.shorthand: value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "anyOf": [
                {
                    "type": "string",
                    "description": f"short for {{{cls.shorthand}: ...}}",
                },
                handler(core),
            ]
        }
