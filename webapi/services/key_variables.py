"""Which environment variables settings that come over the API may name.

Settings name the variable that holds a key, and the address that the key is sent to. Were any variable allowed, whoever
may start a round could have the server's own secrets sent to an address of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings

from engine.errors import BadInput

SUFFIXES = ("_API_KEY", "_SECRET")


def check_key_variables(config: Any) -> None:
    """Raises BadInput for a field `…variable`, however deep, that names a variable which is not for keys of endpoints
    and vendors: its name ends in `_API_KEY` or `_SECRET`, or stands in the setting `KEY_VARIABLES`.
    """
    for where, name in _named(config, ()):
        if not name.endswith(SUFFIXES) and name not in settings.KEY_VARIABLES:
            raise BadInput(
                f"only variables whose names end in {' or '.join(SUFFIXES)} are sent to endpoints; others must stand "
                "in the server's KEY_VARIABLES",
                where=".".join(where),
            )


def _named(value: Any, where: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if str(key).endswith("variable") and isinstance(inner, str) and inner:
                yield (*where, str(key)), inner
            else:
                yield from _named(inner, (*where, str(key)))
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from _named(inner, (*where, str(place)))
