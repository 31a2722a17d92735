"""Settings that come as plain data, checked field by field, and what is wrong with them in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from engine.errors import BadInput

Settings = TypeVar("Settings", bound=BaseModel)


class Named(BaseModel):
    """A registry's entry and its own settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    config: dict[str, Any] = {}


def checked(model: type[Settings], config: Mapping[str, Any], *, where: str) -> Settings:
    """`config` as `model`. Raises BadInput that names each wrong field, and never repeats its value."""
    try:
        return model.model_validate(dict(config))
    except ValidationError as error:
        raise BadInput(problems(error, model), where=where) from None


def problems(error: ValidationError, model: type[BaseModel]) -> str:
    """Each wrong field and what is wrong with it, in one line. `model` is what was to be made."""
    return "; ".join(
        ": ".join(filter(None, [".".join(map(str, one["loc"])), sentence(one, model)])) for one in error.errors()
    )


def sentence(error: ErrorDetails, model: type[BaseModel] | None = None) -> str:
    """What is wrong with one field, without its name; of an unknown one, where `model` is given, which are known."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden" and model:
        return f"there is no such field; known: {', '.join(_fields_beside(model, error['loc'])) or 'none'}"
    if context.get("min_length") == 1:
        return "must not be empty"
    return SENTENCES[kind].format(**context) if kind in SENTENCES else error["msg"]


_WHOLE, _NUMBER, _FLAG = "must be a whole number", "must be a number", "must be true or false"
_LIST, _TABLE, _ONE_OF, _UUID = "must be a list", "must be a table of fields", "must be {expected}", "must be a UUID"
SENTENCES = {
    "missing": "is required",
    "extra_forbidden": "there is no such field",
    "value_error": "{error}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "bool_type": _FLAG,
    "bool_parsing": _FLAG,
    "string_type": "must be text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must fit the pattern {pattern}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "literal_error": _ONE_OF,
    "enum": _ONE_OF,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "dict_type": _TABLE,
    "model_type": _TABLE,
    "model_attributes_type": _TABLE,
    "path_type": "must be a path",
    "uuid_type": _UUID,
    "uuid_parsing": _UUID,
    "json_invalid": "not JSON: {error}",
}
"""By pydantic's type of error: what a person reads. What is not here is told in pydantic's own words."""


def _fields_beside(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The fields of the part of `model` in which `loc` ends."""
    for name in loc[:-1]:
        if name in model.model_fields:
            model = next(_models_in(model.model_fields[str(name)].annotation), model)
    return sorted(field.alias or name for name, field in model.model_fields.items())


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """The models that an annotation is made of: `tuple[WordRule, ...]` holds WordRule."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
