"""Texts of many threads scored together: whose is whose, refusals, errors, threads that end."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.snippets import Snippet
from webapi.services.gathering import Full, Gatherer


def texts(*numbers: int) -> list[Snippet]:
    return [Snippet("", str(number)) for number in numbers]


class Scorer:
    """A text's logit is its number; notes how many came together, and holds until it may go on."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.may = threading.Event()
        self.may.set()
        self.entered = threading.Event()

    def __call__(self, snippets: Sequence[Snippet]) -> NDArray[np.float32]:
        self.sizes.append(len(snippets))
        self.entered.set()
        self.may.wait(5)
        if any(one.completion == "13" for one in snippets):
            raise ValueError("13 cannot be scored")
        return np.array([float(one.completion) for one in snippets], dtype=np.float32)


def test_each_gets_its_own_in_order() -> None:
    scorer = Scorer()
    gatherer = Gatherer(scorer, most_together=8)
    asked = [texts(*range(start, start + start % 4 + 1)) for start in range(20, 220)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(gatherer.logits, asked))
    for given, answer in zip(asked, answers, strict=True):
        assert answer.tolist() == [float(one.completion) for one in given]
    assert max(scorer.sizes) <= 8
    assert sum(scorer.sizes) == sum(map(len, asked))


def _waiting(gatherer: Gatherer, count: int) -> None:
    until = time.monotonic() + 5
    while gatherer._texts < count and time.monotonic() < until:
        time.sleep(0.001)
    assert gatherer._texts == count


def test_what_waits_is_scored_together_and_more_is_refused() -> None:
    scorer = Scorer()
    gatherer = Gatherer(scorer, most_together=64, most_waiting=6)
    scorer.may.clear()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(gatherer.logits, texts(1))
        assert scorer.entered.wait(5)
        others = [pool.submit(gatherer.logits, texts(n, n + 100)) for n in (2, 3, 4)]
        _waiting(gatherer, 6)
        with pytest.raises(Full):
            gatherer.logits(texts(5))
        scorer.may.set()
        assert first.result(5).tolist() == [1]
        assert [one.result(5).tolist() for one in others] == [[2, 102], [3, 103], [4, 104]]
    assert scorer.sizes == [1, 6]


def test_one_request_larger_than_the_queue_is_taken_where_nobody_waits() -> None:
    gatherer = Gatherer(Scorer(), most_together=4, most_waiting=2)
    assert gatherer.logits(texts(*range(10))).tolist() == list(range(10))


def test_an_error_is_told_to_the_request_that_caused_it_alone() -> None:
    scorer = Scorer()
    gatherer = Gatherer(scorer)
    scorer.may.clear()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(gatherer.logits, texts(1))
        assert scorer.entered.wait(5)
        good, bad = pool.submit(gatherer.logits, texts(2)), pool.submit(gatherer.logits, texts(13))
        _waiting(gatherer, 2)
        scorer.may.set()
        assert (first.result(5).tolist(), good.result(5).tolist()) == ([1], [2])
        with pytest.raises(ValueError, match="13 cannot"):
            bad.result(5)
    assert gatherer.logits(texts(7)).tolist() == [7]


def test_an_idle_thread_ends_and_another_begins() -> None:
    gatherer = Gatherer(Scorer(), idle_seconds=0.02)
    for number in (1, 2):
        assert gatherer.logits(texts(number)).tolist() == [number]
        until = time.monotonic() + 5
        while gatherer._running and time.monotonic() < until:
            time.sleep(0.005)
        assert not gatherer._running
