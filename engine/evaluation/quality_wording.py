"""What quality rests on, in words."""

from __future__ import annotations

from engine.evaluation.report_data import Report


def quality_words(report: Report) -> str:
    """How many pairs of completions were compared, of how many prompts, and by whom; empty where none were."""
    found = next((one["quality"] for one in report["classifiers"] if one["quality"]), None)
    if found is None:
        return ""
    parts = [f"{found['asked']:,} pairs of unfiltered completions of {found['prompts']:,} prompts were compared once."]
    if found["decided"]:
        parts.append(f"{found['decided']:,} needed nobody: one was empty or both were the same.")
    if found["unanswered"]:
        parts.append(f"{found['unanswered']:,} were left without an answer and do not count.")
    return " ".join([*parts, found["note"]]).strip()
