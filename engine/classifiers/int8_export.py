"""From a trained network to its int8 file, checked against the network itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.classifiers.base import Example
from engine.classifiers.int8 import quantise
from engine.classifiers.network import Network
from engine.classifiers.onnx_export import export
from engine.classifiers.scoring import Int8Classifier
from engine.classifiers.tokens import PairTokenizer, batches_by_budget
from engine.classifiers.torch_scoring import TorchClassifier

CHECKED = 300
"""Training examples scored both ways, at most."""
CALIBRATING = 100
"""Training examples that set the smoothing of channels, at most."""


class Int8Check(NamedTuple):
    """How int8 compares with fp32 on training examples."""

    checked: int
    equal_decisions: float
    """Share accepted by both or rejected by both at `threshold`."""
    threshold: float
    """The logit that accepts 70 % of the checked negatives in fp32."""
    max_difference: float
    """Of two logits of one snippet."""


def write_int8(
    network: Network, tokenizer: PairTokenizer, examples: Sequence[Example], file: Path, *, alive: Callable[[], None]
) -> Int8Check:
    """Write the int8 graph of `network` to `file` and score some of `examples` both ways.

    About 10 s for the embedded encoder; `alive()` is called at least once a second. Raises BadInput if the network is
    too large.
    """
    snippets = [example.snippet for example in _spread(examples, CALIBRATING)]
    tokens = tokenizer.encode(snippets)
    calibration = [
        tokens.batch(rows, tokenizer.pad_id).feeds()
        for rows in batches_by_budget(tokens.lengths, Int8Classifier.budget)
    ]
    with ThreadPoolExecutor(1) as pool:  # meanwhile this thread keeps saying that it is alive
        job = pool.submit(lambda: file.write_bytes(quantise(export(network), calibration).SerializeToString()))
        while not job.done():
            wait([job], timeout=0.5)
            alive()
        job.result()
    return _check(network, tokenizer, _spread(examples, CHECKED), file, alive)


def _check(
    network: Network, tokenizer: PairTokenizer, sample: Sequence[Example], file: Path, alive: Callable[[], None]
) -> Int8Check:
    snippets = [example.snippet for example in sample]
    exact, int8 = (
        classifier.logits(snippets, progress=lambda *_: alive())
        for classifier in (TorchClassifier(network, tokenizer), Int8Classifier(file, tokenizer))
    )
    negatives = exact[[not example.positive for example in sample]]
    threshold = float(np.quantile(negatives if len(negatives) else exact, 0.7))
    equal = (exact < threshold) == (int8 < threshold)
    return Int8Check(len(sample), float(equal.mean()), threshold, float(np.abs(exact - int8).max()))


def _spread(examples: Sequence[Example], most: int) -> Sequence[Example]:
    return [examples[at] for at in np.linspace(0, len(examples) - 1, min(most, len(examples))).round().astype(int)]
