"""How much faster does a trained classifier score than transformers' own text-classification pipeline?

Peer: `transformers.pipeline("text-classification", batch_size=32)` on the same weights, tokenizer and (prompt,
completion) pairs of 20 to 200 words, in fp32 as it comes. Beside it, the same pipeline given its texts sorted by
length, which its documentation does not ask for. All are run in turn, several times; medians by the clock count, and
processor seconds stand beside them for busy machines. The classifier is trained here, on a word list, so that its
decisions mean something; texts come from ../shared/data/stories (or --stories DIR), else from the story world.
"""

from __future__ import annotations

import argparse
import logging
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from _common import finish  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from transformers.modeling_outputs import SequenceClassifierOutput  # noqa: E402

from engine.classifiers import Example, Recipe, load, train  # noqa: E402
from engine.classifiers.artifact import read_recipe  # noqa: E402
from engine.classifiers.torch_scoring import read_network  # noqa: E402
from engine.corpus import read_stories  # noqa: E402
from engine.simulation import StoryWorld  # noqa: E402
from engine.snippets import Snippet  # noqa: E402

TARGET = 2.0
HARM = {"blood", "wound", "wounded", "killed", "struck", "cut", "stabbed", "shot", "died", "dead", "slain", "burned"}
Scorer = Callable[[list[Snippet]], NDArray[np.float32]]


class Run(NamedTuple):
    """Texts a second by the clock and by processor time, medians over rounds; and the logits."""

    clock: float
    processor: float
    logits: NDArray[np.float32]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="150 texts instead of 1000")
    options.add_argument("--stories", type=Path, default=ROOT.parent / "shared" / "data" / "stories")
    chosen = options.parse_args()
    transformers.logging.set_verbosity(logging.CRITICAL)  # it lists every model that it knows
    transformers.logging.disable_progress_bar()
    texts, source = snippets(chosen.stories, 150 if chosen.quick else 1000)
    with tempfile.TemporaryDirectory() as folder:
        trained = classifier(Path(folder) / "model", chosen.stories, 600 if chosen.quick else 1500)
        pipeline = peer(trained)
        scorers: dict[str, Scorer] = {
            "ours int8": load(trained, precision="int8").logits,
            "ours bf16": load(trained, precision="bf16").logits,
            "ours fp32": load(trained, precision="fp32").logits,
            "pipeline": pipeline,
            "pipeline, sorted texts": lambda given: by_length(pipeline, given),
        }
        runs = alternate(scorers, texts, rounds=3)
    report(runs, texts, source, quick=chosen.quick)


def snippets(stories: Path, n: int, longest: int = 200, seed: int = 0) -> tuple[list[Snippet], str]:
    """`n` pairs of 20 words and more of running text, the last quarter the completion; and where they are from."""
    if stories.is_dir():
        words, source = " ".join(story.text for story in read_stories(stories)).split(), stories.name
    else:
        world = StoryWorld()
        words, source = " ".join(world.story(i).text for i in range(3 * n)).split(), "the story world"
    rng = np.random.default_rng([seed, n])
    made = []
    for length in rng.integers(20, longest + 1, n):
        start = int(rng.integers(0, len(words) - length))
        cut = start + round(length * 0.75)
        made.append(Snippet(" ".join(words[start:cut]), " ".join(words[cut : start + length])))
    return made, source


def classifier(folder: Path, stories: Path, n: int) -> Path:
    """A classifier trained to find a word list's words, on other texts than those scored."""
    texts, _ = snippets(stories, n, longest=60, seed=1)
    examples = [Example(text, bool(HARM & set(text.text.lower().split()))) for text in texts]
    return train(examples, Recipe(), out_dir=folder).path


def peer(trained: Path) -> Scorer:
    """transformers' pipeline on the same weights, as margins."""
    network = read_network(trained, read_recipe(trained))

    class Same(transformers.PreTrainedModel):  # type: ignore[misc]
        """The trained network as transformers wants a model to be."""

        config_class = type(network.encoder.config)
        _supports_sdpa = True

        def __init__(self) -> None:
            super().__init__(network.encoder.config)
            self.network = network

        def forward(
            self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
        ) -> SequenceClassifierOutput:
            return SequenceClassifierOutput(logits=self.network(input_ids, attention_mask, token_type_ids))

    run = transformers.pipeline(
        "text-classification", model=Same().eval(), tokenizer=transformers.AutoTokenizer.from_pretrained(trained)
    )

    def score(texts: list[Snippet]) -> NDArray[np.float32]:
        pairs = [{"text": text.prompt, "text_pair": text.completion} for text in texts]
        found = run(
            pairs, batch_size=32, top_k=None, function_to_apply="none", truncation=True, max_length=256, padding=True
        )
        scores = [{label["label"]: label["score"] for label in labels} for labels in found]
        return np.array([score["LABEL_1"] - score["LABEL_0"] for score in scores], dtype=np.float32)

    return score


def by_length(score: Scorer, texts: list[Snippet]) -> NDArray[np.float32]:
    """The same scores, by giving the scorer the longest texts first."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i].text))
    scores = np.empty(len(texts), dtype=np.float32)
    scores[order] = score([texts[i] for i in order])
    return scores


def alternate(scorers: dict[str, Scorer], texts: list[Snippet], *, rounds: int) -> dict[str, Run]:
    """Each scorer once a round, in turn, after one warm-up on a few texts."""
    clock: dict[str, list[float]] = {name: [] for name in scorers}
    processor: dict[str, list[float]] = {name: [] for name in scorers}
    logits = {}
    for score in scorers.values():
        score(texts[:32])
    for _ in range(rounds):
        for name, score in scorers.items():
            began, used = time.perf_counter(), time.process_time()
            logits[name] = score(texts)
            clock[name].append(len(texts) / (time.perf_counter() - began))
            processor[name].append(len(texts) / (time.process_time() - used))
    return {n: Run(statistics.median(clock[n]), statistics.median(processor[n]), logits[n]) for n in scorers}


def report(runs: dict[str, Run], texts: list[Snippet], source: str, *, quick: bool) -> None:
    """The table for people and the last line for programs."""
    exact, best = runs["pipeline"].logits, runs["ours int8"]
    threshold = float(np.quantile(exact, 0.7))
    words = [len(text.text.split()) for text in texts]
    print(f"{len(texts)} pairs of {min(words)} to {max(words)} words from {source}; threshold rejects 30 % of them")
    print(f"{'':<24}{'texts/s':>9}{'texts/cpu-s':>13}{'ratio':>8}{'largest difference':>20}{'equal decisions':>17}")
    equal, furthest = {}, {}
    for name, run in runs.items():
        furthest[name] = float(np.abs(run.logits - exact).max())
        equal[name] = float(np.mean((run.logits < threshold) == (exact < threshold)))
        ratio = run.clock / runs["pipeline"].clock
        print(
            f"{name:<24}{run.clock:>9.0f}{run.processor:>13.0f}{ratio:>8.2f}{furthest[name]:>20.5f}{equal[name]:>16.1%}"
        )
    finish(
        "scoring_vs_pipeline",
        ours=round(best.clock, 1),
        peer=round(runs["pipeline"].clock, 1),
        ratio=round(best.clock / runs["pipeline"].clock, 2),
        target=TARGET,
        unit="texts a second",
        peer_name=f"transformers {transformers.__version__} pipeline, batch 32, fp32",
        met=best.clock >= TARGET * runs["pipeline"].clock
        and furthest["ours fp32"] <= 1e-3
        and equal["ours int8"] >= 0.995,
        quick=quick,
        ratios={name: round(run.clock / runs["pipeline"].clock, 2) for name, run in runs.items()},
        ratios_by_processor={name: round(run.processor / runs["pipeline"].processor, 2) for name, run in runs.items()},
        largest_difference={name: round(value, 5) for name, value in furthest.items()},
        equal_decisions={name: round(value, 4) for name, value in equal.items()},
        texts=len(texts),
        source=source,
        peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    )


if __name__ == "__main__":
    main()
