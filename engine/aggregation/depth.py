"""Adaptive depth: whether a snippet that has the labels it wanted should get one more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from engine.policies import Policy


def wants_another(
    policy: Policy, answers: Sequence[str], *, test: bool, posterior: Sequence[float] | None = None
) -> bool:
    """Whether one more label is worth its price, given the answers that stand (one an annotator).

    Snippets of the test split always get a tie-break where the first answers differ, until one answer leads (paper,
    C.2); the others what `policy.depth.more_on` says. Never above `depth.most`. `posterior`: a probability for each of
    the policy's choices, for `low_confidence`; None: not known, and then nothing is asked for its sake. O(answers).
    """
    depth = policy.depth
    if not answers or len(answers) >= depth.most:
        return False
    ranked = Counter(answers).most_common()
    if test:
        return len(answers) < depth.test or (len(ranked) > 1 and ranked[0][1] == ranked[1][1])
    reasons = {
        "disagreement": len(ranked) > 1 and ranked[0][1] == ranked[1][1],
        "unsure": ranked[0][0] not in (policy.failure, policy.harmless),
        "low_confidence": posterior is not None and max(posterior) < depth.confidence,
    }
    return any(reasons[name] for name in depth.more_on)
