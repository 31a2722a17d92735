"""Settings that come as plain data, checked field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from engine.errors import BadInput

Settings = TypeVar("Settings", bound=BaseModel)


def checked(model: type[Settings], config: Mapping[str, Any], *, where: str) -> Settings:
    """`config` as `model`. Raises BadInput that names each wrong field, and never repeats its value."""
    try:
        return model.model_validate(dict(config))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg']}" for e in error.errors())
        raise BadInput(problems, where=where) from None
