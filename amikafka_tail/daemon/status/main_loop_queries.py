"""Queries from other threads to the main loop, which alone may access its objects."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class NoAnswerError(Exception):
    """The main loop has not answered in time."""


class MainLoopQueries(Generic[T]):
    """Passes answers from the main loop to other threads; `wake` ends the loop's wait."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._asked: deque[queue.SimpleQueue[T]] = deque()

    def ask(self, seconds: float) -> T:
        """Wait for the main loop to answer. Called from any other thread. Raises `NoAnswerError`."""
        answer: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._asked.append(answer)
        self._wake()
        try:
            return answer.get(timeout=seconds)
        except queue.Empty:
            raise NoAnswerError(f"the daemon's main loop has not answered within {seconds:g} s") from None

    def answer(self, make: Callable[[], T]) -> None:
        """Answer all waiting queries. Called from the main loop every round."""
        if self._asked:
            answer = make()
            while self._asked:
                self._asked.popleft().put(answer)
