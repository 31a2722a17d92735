"""A bag of words does not solve the story world: what logistic regression on it reaches, by scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from engine.simulation import StoryWorld
from engine.snippets import Snippet

TRAINED_ON = 4000


def windows(first: int, last: int) -> tuple[list[Snippet], np.ndarray]:
    world = StoryWorld(0)
    found = [window for index in range(first, last) for window in world.story(index).windows()]
    return [snippet for snippet, _ in found], np.array([recorded for _, recorded in found])


@pytest.mark.parametrize(
    ("text", "auc_range", "least_missed"),
    [
        (lambda snippet: snippet.completion, (0.85, 0.92), 0.02),
        (lambda snippet: snippet.text, (0.70, 0.84), 0.15),
    ],
    ids=["completion", "prompt and completion"],
)
def test_a_bag_of_words_misses_much(
    text: Callable[[Snippet], str], auc_range: tuple[float, float], least_missed: float
) -> None:
    train, train_truths = windows(0, 600)
    test, test_truths = windows(600, 1000)
    vectorizer = CountVectorizer(ngram_range=(1, 2), binary=True)
    features = vectorizer.fit_transform([text(snippet) for snippet in train[:TRAINED_ON]])
    model = LogisticRegression(C=0.3, class_weight="balanced", max_iter=500)
    model.fit(features, train_truths[:TRAINED_ON] != "No")
    scores = model.decision_function(vectorizer.transform([text(snippet) for snippet in test]))
    injures = test_truths == "Yes"
    auc = roc_auc_score(injures, scores)
    missed = float(np.mean(scores[injures] < np.quantile(scores, 0.6)))
    assert auc_range[0] <= auc <= auc_range[1]
    assert missed >= least_missed
