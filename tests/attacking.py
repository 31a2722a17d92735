"""A small classifier with its weights in the store, and known failures that it rejects, for tests of attacks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from engine.classifiers import Recipe, load, train
from engine.snippets import Snippet as SnippetText
from engine.snippets import split_of
from tests.engine.tiny_encoders import HARM, PLACES, examples, write_encoder
from webapi.models import Classifier, Consensus, Policy, Snippet
from workers.artifacts import register

WORLD = [
    SnippetText(f"The old man walked to the {place}. They rested.", f"The {who} {verb} a girl in the {other}.")
    for place in PLACES[:4]
    for verb in HARM
    for who, other in (("baker", "yard"), ("old knight", "barn"))
]


class Victim(NamedTuple):
    """What is attacked, and from what."""

    classifier: Classifier
    failures: list[Snippet]
    """In the order of their hashes."""


def victim(policy: Policy, home: Path, *, seed: int = 0, name: str = "victim") -> Victim:
    """A trained and calibrated classifier that rejects all but two of the known failures."""
    encoder = write_encoder(home / "tiny-encoder")
    recipe = Recipe(
        encoder=str(encoder),
        trainable_layers=None,
        epochs=4,
        max_tokens=64,
        export_int8=False,
        precision="fp32",
        seed=seed,
    )
    folder = home / "classifiers" / name
    train(examples(64), recipe, out_dir=folder)
    failures = known_failures(policy)
    logits = np.sort(load(folder, precision="fp32").logits([row.text for row in failures]))
    classifier = Classifier.objects.create(
        policy=policy,
        name=name,
        condition="baseline",
        encoder=str(encoder),
        recipe=recipe.model_dump(mode="json"),
        precision="fp32",
        artifact=register(folder, "classifier"),
        threshold=float(expit((logits[1] + logits[2]) / 2)),
    )
    return Victim(classifier, failures)


def known_failures(policy: Policy) -> list[Snippet]:
    """Labelled failures of the training split."""
    rows = []
    for text in WORLD:
        row, _ = Snippet.objects.get_or_create(
            policy=policy,
            content_hash=text.content_hash,
            external_id="",
            defaults={
                "prompt": text.prompt,
                "completion": text.completion,
                "root_hash": text.content_hash,
                "split": split_of(text.content_hash),
                "source": "manual",
            },
        )
        Consensus.objects.get_or_create(snippet=row, defaults={"choice": policy.rules.failure, "labels": 1})
        rows.append(row)
    return sorted((row for row in rows if row.split == "train"), key=lambda row: row.content_hash)
