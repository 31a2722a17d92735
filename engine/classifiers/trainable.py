"""Whether examples can be trained on, said before anything is loaded, and what a person should know of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from engine.classifiers.base import Example
from engine.classifiers.recipe import Recipe
from engine.errors import BadInput

NAMED = 3
"""Hashes that a sentence names of many."""


def checked(
    examples: Sequence[Example],
    recipe: Recipe,
    validation: Sequence[Example],
    *,
    out_dir: Path,
    others: Sequence[Path | None] = (),
) -> list[str]:
    """Sentences on what is odd and yet allowed. Raises BadInput for what cannot be trained. O(characters).

    Allowed: a text with both labels. It teaches that its score is in between, which is what is known of it, and one
    among many thousands is no reason to stop a training; but it is counted and named, as somebody's labels are wrong.
    """
    positives = sum(example.positive for example in examples)
    if not examples:
        raise BadInput("no examples to train on", where="examples")
    if positives in (0, len(examples)):
        raise BadInput(f"all {len(examples)} examples are of one class; training needs both", where="examples")
    if recipe.early_stop and not validation:
        raise BadInput("an early stop needs validation examples", where="early_stop")
    for other in others:
        if other is not None and other.absolute().is_relative_to(out_dir.absolute()):
            raise BadInput(f"lies inside the classifier's own folder {out_dir}", where=str(other))
    labels: defaultdict[str, set[bool]] = defaultdict(set)
    for example in examples:
        labels[example.snippet.content_hash].add(example.positive)
    both = [name for name, seen in labels.items() if len(seen) == 2]
    shared = {example.snippet.content_hash for example in validation} & labels.keys()
    return [
        f"{what}: {len(found)} ({', '.join(name[:12] for name in found[:NAMED])}{', ...' * (len(found) > NAMED)})"
        for what, found in (("texts with both labels", both), ("validation texts trained on as well", sorted(shared)))
        if found
    ]
