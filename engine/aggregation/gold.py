"""What answers to gold tell of an annotator."""

from __future__ import annotations

from typing import Literal

from scipy.special import betainc

from engine.policies import Quality

SURE = 0.95
"""How sure one must be that somebody is below the bar before pausing them."""

Verdict = Literal["qualifying", "qualified", "paused"]


def verdict(quality: Quality, *, right: int, wrong: int, qualifying: int) -> Verdict:
    """How an annotator stands after so many right and wrong answers to gold.

    `qualifying`: gold tasks asked of a new annotator, 0 for one who has passed. Passing takes `qualification_right`
    right answers among them (none set: all); later, the posterior Beta(1 + right, 1 + wrong) must not put more than
    `SURE` below the bar.
    """
    if qualifying:
        if right + wrong < qualifying:
            return "qualifying"
        needed = qualifying if quality.qualification_right is None else min(quality.qualification_right, qualifying)
        return "qualified" if right >= needed else "paused"
    return "paused" if wrong and betainc(1 + right, 1 + wrong, quality.bar) > SURE else "qualified"
