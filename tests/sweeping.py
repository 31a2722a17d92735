"""A round as far as a sweep needs one, by hand: labelled snippets, a snapshot, alternates, a tiny encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.classifiers.composing import Composing
from webapi.models import Artifact, Consensus, Corpus, DatasetSnapshot, Policy, Round, Snippet, SplitName, Sweep
from webapi.services.sweeps import sweep_create
from workers.artifacts import register, writing
from workers.conditions import Condition, Dataset
from workers.generate import alternates_path
from workers.round_settings import round_settings
from workers.snapshots import snapshot_of
from workers.sweep import run_due_job
from workers.training_sweeps import conclude

PROMPTS, DRAWS = 8, 6
PLACES = ["hall", "yard", "barn", "road", "mill", "inn", "ford", "cave"]
HARM = ["stabbed", "burned", "crushed", "shot"]
CALM = ["greeted", "thanked", "painted", "fed"]
"""Words that `tests.engine.tiny_encoders` knows."""


def labelled(policy: Policy, split: str, number: int, *, choice: str | None = None, **fields: Any) -> Snippet:
    """A snippet whose verb decides, and its consensus."""
    failure = number % 3 == 0
    verb = (HARM if failure else CALM)[number // 3 % 4]
    text = f"The {('baker', 'knight')[number % 2]} {verb} a girl."
    key = f"{split} {number} {fields.get('source', '')}".ljust(64, "-")
    row = Snippet.objects.create(
        **{
            "policy": policy,
            "prompt": f"The old man walked to the {PLACES[number % 8]}.",
            "completion": text,
            "content_hash": key,
            "root_hash": key,
            "split": split,
            "source": "generated",
            "external_id": key.strip("-"),
            **fields,
        }
    )
    Consensus.objects.create(snippet=row, choice=choice or ("Yes" if failure else "No"), rule="policy_rule", labels=1)
    return row


def sweepable(policy: Policy, home: Path, encoder: Path) -> DatasetSnapshot:
    """A snapshot of a round that has alternates of its validation prompts, and a labelled validation mix."""
    training = {"encoder": str(encoder), "epochs": 1, "export_int8": False, "max_tokens": 32}
    sizes = {"validation_prompts": PROMPTS, "validation_completions": DRAWS}
    config = round_settings({"training": training, "precision": "fp32", "sizes": sizes}).model_dump(mode="json")
    corpus = Corpus.objects.create(name="world", path=str(home))
    round_ = Round.objects.create(name="Round 1", policy=policy, corpus=corpus, config=config)
    for number in range(24):
        labelled(policy, "train", number)
        seed = labelled(policy, "validation", number)
        if number % 3 == 0:
            own = {"parent": seed, "root_hash": seed.root_hash, "source": "paraphrase"}
            labelled(policy, "validation", number, **own)
    write_alternates(round_)
    condition = Condition(name="all", datasets=(Dataset(name="all", initial=True),))
    return snapshot_of(policy, condition, Composing(), seed=0, round_=round_)


def write_alternates(round_: Round) -> None:
    """Six completions of each of eight prompts, two of them harmful."""
    rows = [
        (str(prompt), f"The old man walked to the {PLACES[prompt]}.", f"The dog {verb} a man.")
        for prompt in range(PROMPTS)
        for verb in [*CALM, *np.roll(HARM, prompt)[:2]]
    ]
    path = alternates_path(round_, SplitName.VALIDATION)
    columns = [list(column) for column in zip(*rows, strict=True)]
    with writing(path) as temporary:
        pq.write_table(pa.table(columns, names=["prompt_id", "prompt", "completion"]), temporary)
    register(path, "alternates")


def new_sweep(snapshot: DatasetSnapshot, **settings: Any) -> Sweep:
    """Two learning rates, two seeds."""
    asked = {"learning_rates": [1e-3, 1e-2], "seeds": [0, 1], **settings}
    return sweep_create(snapshot=snapshot, settings=asked)


def tiny_encoder(folder: Path) -> Path:
    """Of a few thousand weights."""
    from tests.engine.tiny_encoders import write_encoder  # torch loads with it

    return write_encoder(folder)


def work(most: int = 50) -> int:
    """Runs what is due; how many jobs that were."""
    for done in range(most):
        if not run_due_job():
            return done
    raise AssertionError("the work does not end")


def rate(failures: int, n: int) -> dict[str, Any]:
    share = failures / n
    return {
        "estimate": share,
        "low": max(0.0, share - 0.1),
        "high": share + 0.1,
        "level": 0.95,
        "method": "Fay-Feuer gamma",
        "failures": failures,
        "n": n,
    }


def ended(sweep: Sweep, *missed: tuple[int, int] | None) -> Sweep:
    """Its runs with so many of 10 failures missed by each half; None: one that failed."""
    artifact = Artifact.objects.create(kind="validation_mix", path=f"mix {sweep.pk}", sha256="0" * 64, size=1)
    assert sweep.start(artifact)
    for run, found in zip(sweep.runs.all(), missed, strict=False):
        run.start()
        if found is None:
            run.fail("training diverged at 0.01; use less")
            continue
        halves = {
            name: {"fnr": rate(count, 10), "by_source": {"paraphrase": rate(count, 10)}, "log_loss": 0.5, "n": 20}
            for name, count in zip(("choosing", "confirming"), found, strict=True)
        }
        curve = [{"step": n, "examples": 16 * n, "training_loss": 1 / n, "validation_loss": 1.5 / n} for n in (1, 2, 3)]
        metrics = {**halves, "training": {"seconds": 1.0}, "calibration": {"logit": 0.0}}
        run.succeed(fnr=found[0] / 10, log_loss=0.5, threshold=0.5, metrics=metrics, curve=curve)
    sweep.refresh_from_db()
    conclude(sweep)
    sweep.refresh_from_db()
    return sweep
