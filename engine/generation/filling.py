"""Asking again where a source answers with less than was wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.errors import GeneratorError
from engine.snippets import SnippetRules, cut_completion

Draw = Callable[[Sequence[str], Sequence[int], int], list[list[str]]]
"""`draw(prompts, counts, attempt)`: raw texts for each prompt, about as many as its count; attempts count from 0."""


def fill(
    draw: Draw, prompts: Sequence[str], n: int, rules: SnippetRules, *, source: str, tries: int = 4
) -> list[list[str]]:
    """`n` cut completions for each prompt; empty strings where `tries` attempts did not bring enough.

    Raises GeneratorError when not one prompt got anything.
    """
    got: list[list[str]] = [[] for _ in prompts]
    for attempt in range(tries):
        short = [i for i, texts in enumerate(got) if len(texts) < n]
        if not short:
            break
        raw = draw([prompts[i] for i in short], [n - len(got[i]) for i in short], attempt)
        for i, texts in zip(short, raw, strict=True):
            cut = (cut_completion(text, rules) for text in texts)
            got[i].extend([text for text in cut if text][: n - len(got[i])])
    if prompts and n and not any(got):
        raise GeneratorError(f"{source}: answered {len(prompts)} prompts with nothing, {tries} times over")
    return [texts + [""] * (n - len(texts)) for texts in got]
