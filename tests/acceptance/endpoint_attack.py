"""A paraphrase attack on an endpoint, in this process or in one that can be killed: `python -m`, settings as JSON."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.attacks import Budget, Outcome, Target, make_attack
from engine.embeddings import SentenceEncoder
from engine.endpoints.ledger import Ledger
from engine.endpoints.settings import Account
from engine.policies import load_policy
from engine.progress import Progress, silent
from engine.snippets import Snippet
from tests.acceptance.tiny_chat_model import story

POLICY = load_policy("injury")
SEEDS = [story(random.Random(i)) for i in range(6)]
SETTINGS = {"most": 3, "least": 1, "batch": 2, "max_draws": 8, "least_draws": 8}


class Lexicon:
    """Rejects what names one of three deeds; a fourth it has not learnt."""

    def logits(self, snippets: Sequence[Snippet], *, progress: Progress = silent) -> NDArray[np.float32]:
        bad = {"crushed", "burned", "wounded"}
        found = [bool(bad & set(snippet.completion.split())) for snippet in snippets]
        return np.where(found, 3.0, -3.0).astype(np.float32)

    def count_tokens(self, snippet: Snippet) -> int:
        return len(snippet.text.split())


def _no_white_box() -> Any:
    raise AssertionError("a paraphrase attack does not look inside")


def config(base_url: str, **changes: object) -> dict[str, object]:
    """How the endpoint is asked."""
    return {
        "model": "tiny", "base_url": base_url, "key_variable": None, "timeout_s": 2.0, "max_retries": 6,
        "max_tokens": 150, "choices_per_request": 2, **changes,
    }  # fmt: skip


def attack(base_url: str, folder: Path, ledger: Ledger, *, concurrency: int = 3) -> Outcome:
    """The attack on `SEEDS` through the official client."""
    asked = {"name": "openai", "config": config(base_url, concurrency=concurrency)}
    made = make_attack("paraphrase", POLICY, {**SETTINGS, "paraphraser": asked}, Account(ledger, folder))
    return made.run(SEEDS, Target(POLICY, Lexicon(), 0.5, _no_white_box, SentenceEncoder), Budget(), seed=1)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    attack(given["base_url"], Path(given["folder"]), Ledger(given["owner"]), concurrency=given["concurrency"])
