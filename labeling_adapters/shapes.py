"""JSON from outside, checked before anything is read from it: an adapter's settings and a vendor's answers."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from labeling_adapters.base import AdapterError


class Config(BaseModel):
    """An adapter's own settings. A name that it does not know is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(BaseModel):
    """The part of a vendor's answer that is read. Whatever else stands in it is left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")


A = TypeVar("A", bound=BaseModel)


def answered(model: type[A], answer: object, *, where: str) -> A:
    """An answer as `model`. Raises a permanent AdapterError that says what is missing."""
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        raise AdapterError(f"{where}: an answer of an unknown shape: {problems(error)}", permanent=True) from None


def problems(error: ValidationError) -> str:
    """The first three fields that are wrong, and why."""
    found = error.errors(include_input=False, include_url=False)
    shown = [f"{'.'.join(map(str, one['loc'])) or 'all'}: {one['msg']}" for one in found[:3]]
    return "; ".join(shown) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
