"""What all mappings of a configuration have in common: nothing unknown, nothing converted; perhaps a short form.

Contract: base classes and the types of numbers only. See it work: ``pytest tests/config``.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


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
