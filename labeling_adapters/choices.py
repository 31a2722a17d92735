"""What people and platforms write for a choice, and which choice that is."""

from __future__ import annotations

from collections.abc import Sequence


def as_choice(text: str, choices: Sequence[str]) -> str:
    """The choice that `text` is, whatever its case and the space around it.

    A text that is none comes back as it is, trimmed: whoever records it says that it is unknown. Of choices that
    differ by case alone, the one written exactly so.
    """
    text = text.strip()
    if text in choices:
        return text
    return {choice.strip().casefold(): choice for choice in reversed(choices)}.get(text.casefold(), text)
