"""Job `export_classifier`: a classifier as a file for other programs, its int8 graph checked against its weights."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings

from engine.classifiers import Example, artifact, load
from engine.errors import BadInput
from engine.evaluation.rates import Rate, clopper_pearson
from engine.generation.rejection import logit_cutoff
from engine.progress import Progress
from webapi.models import Classifier
from workers.artifacts import shared, writing
from workers.hashing import digest_of
from workers.jobs import JobRun
from workers.scoring import threshold_of, weights_of
from workers.snapshots import examples_of, training_rows

CHECKED = 300
"""Snippets that it was trained on, scored both ways, at most."""
LEAST_EQUAL = 0.95
WRITTEN = (1980, 1, 1, 0, 0, 0)
"""The time of each member, which has none of its own."""


def export_classifier(run: JobRun) -> dict[str, Any]:
    """Writes a zip of graph, tokenizer, configuration, recipe and `export.json`: threshold, hashes and the check.

    Raises BadInput where int8 and full precision decide differently on more than `1 - args["least_equal"]` of the
    snippets checked: then there is no file.
    """
    row = Classifier.objects.select_related("artifact", "policy", "snapshot__artifact", "snapshot__policy").get(
        pk=run.args["classifier"]
    )
    folder, least = weights_of(row), float(run.args.get("least_equal", LEAST_EQUAL))
    examples = _sample(row)
    path = Path(settings.GAUNTLET_HOME) / "exports" / f"{run.job.pk}.zip"
    with tempfile.TemporaryDirectory(prefix="export-") as name:
        graph = _graph(folder, examples, Path(name), run.progress)
        equal = _equal(folder, graph, examples, threshold_of(row), run.progress)
        if equal.estimate is None or equal.estimate < least:
            raise BadInput(
                f"int8 decides alike on {equal.failures:.0f} of {equal.n:.0f} snippets, less than {least:g}",
                where="export",
            )
        with writing(path) as temporary:
            _zip(temporary, folder, graph, _about(row, equal))
    shared(path, "export")
    digest = digest_of(path)
    about = {"path": f"exports/{path.name}", "rows": len(examples), "bytes": digest.size, "sha256": digest.sha256}
    return {**about, "equal_decisions": equal.as_dict()}


def _sample(row: Classifier) -> list[Example]:
    if row.snapshot is None:
        raise BadInput("has no snapshot whose snippets its graph could be checked on", where=row.name)
    examples = examples_of(row.policy.rules, training_rows(row.snapshot))
    chosen = np.linspace(0, len(examples) - 1, min(CHECKED, len(examples))).round().astype(int)
    return [examples[at] for at in chosen.tolist()]


def _graph(folder: Path, examples: list[Example], beside: Path, progress: Progress) -> Path:
    """The int8 graph: the one in the artifact, or one made now where training wrote none."""
    graph = folder / artifact.INT8
    if graph.is_file():
        return graph
    from engine.classifiers.int8_export import write_int8  # torch and onnx load with it
    from engine.classifiers.loading import read_tokenizer
    from engine.classifiers.torch_scoring import read_network

    recipe, made = artifact.read_recipe(folder), beside / artifact.INT8
    network, tokenizer = read_network(folder, recipe), read_tokenizer(folder, recipe)
    write_int8(network, tokenizer, examples, made, alive=lambda: progress(0, 2 * len(examples)))
    return made


def _equal(folder: Path, graph: Path, examples: list[Example], threshold: float, progress: Progress) -> Rate:
    """Share of snippets that both accept or both reject; `failures` counts them."""
    from engine.classifiers.loading import read_tokenizer
    from engine.classifiers.scoring import Int8Classifier

    texts, total = [one.snippet for one in examples], 2 * len(examples)
    int8 = Int8Classifier(graph, read_tokenizer(folder, artifact.read_recipe(folder)))
    small = int8.logits(texts, progress=lambda done, _: progress(done, total))
    exact = load(folder, precision="fp32").logits(texts, progress=lambda done, _: progress(len(texts) + done, total))
    at = logit_cutoff(threshold)
    return clopper_pearson(int(((small < at) == (exact < at)).sum()), len(texts))


def _about(row: Classifier, equal: Rate) -> dict[str, Any]:
    return {
        "classifier": str(row.pk),
        "name": row.name,
        "policy": str(row.policy),
        "encoder": row.encoder,
        "threshold": row.threshold,
        "threshold_logit": float(logit_cutoff(threshold_of(row))),
        "artifact_sha256": row.artifact.sha256 if row.artifact else None,
        "snapshot_sha256": row.snapshot.artifact.sha256 if row.snapshot else None,
        "equal_decisions": equal.as_dict(),
    }


def _zip(path: Path, folder: Path, graph: Path, about: dict[str, Any]) -> None:
    files = {name: folder / name for name in (artifact.TOKENIZER, artifact.CONFIG, artifact.RECIPE)}
    with zipfile.ZipFile(path, "w") as made:
        for name, file in {artifact.INT8: graph, **files}.items():
            with made.open(zipfile.ZipInfo(name, WRITTEN), "w", force_zip64=True) as to, file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    to.write(block)
        made.writestr(zipfile.ZipInfo("export.json", WRITTEN), json.dumps(about, indent=1))
