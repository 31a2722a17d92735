"""How rounds, stages and spans of time are spoken of."""

from __future__ import annotations

from typing import NamedTuple


class StageWords(NamedTuple):
    """How a stage is spoken of: its title, what the round does in it, and what it counts, if that is worth showing."""

    title: str
    doing: str
    unit: str


STAGE_WORDS: dict[str, StageWords] = {
    "ingest": StageWords("Ingest", "reading stories", "characters"),
    "generate": StageWords("Generate", "writing completions", "prompts"),
    "label_first": StageWords("Label the first set", "labelling its first set", "labels"),
    "aggregate_first": StageWords("Settle the first labels", "settling the first labels", "snippets"),
    "train_baseline": StageWords("Train the baseline", "training the baseline", "examples"),
    "calibrate_baseline": StageWords("Calibrate the baseline", "calibrating the baseline", "snippets"),
    "attack": StageWords("Attack", "attacking the baseline", "seeds"),
    "score": StageWords("Score", "scoring the candidates", "snippets"),
    "embed": StageWords("Embed", "embedding the candidates", "snippets"),
    "select": StageWords("Select", "selecting the batch", ""),
    "label": StageWords("Label", "labelling", "labels"),
    "aggregate": StageWords("Settle the labels", "settling the labels", "snippets"),
    "train": StageWords("Retrain", "retraining", "examples"),
    "calibrate": StageWords("Calibrate", "calibrating the new classifier", "snippets"),
    "compare": StageWords("Compare", "having completions compared", "comparisons"),
    "quality": StageWords("Measure quality", "measuring what filtering costs in quality", ""),
    "attack_after": StageWords("Attack again", "attacking the retrained classifier", "seeds"),
    "label_after": StageWords("Label the new finds", "labelling what the attacks found anew", "labels"),
    "aggregate_after": StageWords("Settle the new labels", "settling the new labels", "snippets"),
    "evaluate": StageWords("Evaluate", "evaluating both classifiers", "snippets"),
    "certify": StageWords("Certify", "buying labels for what the filters let through", "evaluations"),
    "report": StageWords("Report", "writing the report", ""),
}


def stage_words(name: str) -> StageWords:
    """How to speak of the stage with this name."""
    plain = name.replace("_", " ")
    return STAGE_WORDS.get(name) or StageWords(plain.capitalize(), f"at its stage “{plain}”", "items")


def duration(seconds: float) -> str:
    """A span of time as people say it: `48 s`, `6 min`, `3 h 5 min`, `2 days`."""
    minutes = round_half_up(seconds / 60)
    if seconds < 90:
        return f"{round_half_up(seconds)} s"
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{round_half_up(hours / 24)} days"


def round_half_up(value: float) -> int:
    """The nearest whole number; halves go up, as people expect of clocks."""
    return int(value + 0.5)
