"""Texts of requests that come at the same time, scored together on one thread.

Each request alone would score one short text: the tokenizer and the model then do their fixed work once a text, and
threads of requests wait for each other in the model. Together they fill a batch.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Condition, Thread
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.snippets import Snippet

Logits = NDArray[np.float32]
MOST_TOGETHER = 64
"""Texts that are scored at once, unless one request brings more."""
MOST_WAITING = 1024
"""Texts that may wait; more are refused, so that nobody waits for what takes seconds."""
GATHER_SECONDS = 0.005
"""How long a text waits for company, at most, where the batch before had some."""
IDLE_SECONDS = 10.0
"""A thread without work ends after so long; the next request starts another."""


class Full(Exception):
    """Too many texts wait; nothing was queued."""


class _Asked(NamedTuple):
    snippets: Sequence[Snippet]
    answer: Future[Logits]


class Gatherer:
    """A scorer that many threads may ask at once. `score` maps n snippets to (n,) logits."""

    def __init__(
        self,
        score: Callable[[Sequence[Snippet]], Logits],
        *,
        most_together: int = MOST_TOGETHER,
        most_waiting: int = MOST_WAITING,
        gather_seconds: float = GATHER_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._score = score
        self._together, self._most = most_together, most_waiting
        self._gather, self._idle = gather_seconds, idle_seconds
        self._changed = Condition()
        self._waiting: deque[_Asked] = deque()
        self._texts = 0
        self._running = False
        self._company = False

    def logits(self, snippets: Sequence[Snippet]) -> Logits:
        """Logits (n,) in order, once they are there. Raises Full, or what the scorer raised on these texts."""
        asked = _Asked(snippets, Future())
        with self._changed:
            if self._texts and self._texts + len(snippets) > self._most:
                raise Full
            self._waiting.append(asked)
            self._texts += len(snippets)
            if not self._running:
                self._running = True
                Thread(target=self._work, name="gatherer", daemon=True).start()
            self._changed.notify()
        return asked.answer.result()

    def _work(self) -> None:
        while batch := self._next():
            if self._answer(batch) or len(batch) == 1:
                continue
            for asked in batch:  # one text that cannot be scored is not to refuse the others'
                self._answer([asked])

    def _answer(self, batch: Sequence[_Asked]) -> bool:
        """Whether the batch was answered: all of it, or its only request with the error."""
        try:
            found = self._score([snippet for asked in batch for snippet in asked.snippets])
        except Exception as error:  # noqa: BLE001 - it is the asking thread's, and raised there
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
            return False
        ends = np.cumsum([len(asked.snippets) for asked in batch])
        for asked, logits in zip(batch, np.split(found, ends[:-1]), strict=True):
            asked.answer.set_result(logits)
        return True

    def _next(self) -> list[_Asked]:
        """The requests to answer together; none where nobody asked for a while."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, self._idle):
                self._running = False
                return []
            if self._company:
                until = time.monotonic() + self._gather
                while self._texts < self._together and (left := until - time.monotonic()) > 0:
                    self._changed.wait(left)
            batch = [self._take()]
            size = len(batch[0].snippets)
            while self._waiting and size + len(self._waiting[0].snippets) <= self._together:
                batch.append(self._take())
                size += len(batch[-1].snippets)
            self._company = len(batch) > 1
            return batch

    def _take(self) -> _Asked:
        asked = self._waiting.popleft()
        self._texts -= len(asked.snippets)
        return asked
