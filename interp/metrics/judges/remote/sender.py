"""Sends questions to a server: from a few threads, at one pace, again where it was busy. Knows nothing of judges."""

import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from interp import bounds
from interp.errors import InterpError


class Busy(Exception):
    """No answer this time; another attempt may get one."""

    def __init__(self, reason: str, after: float | None = None, again: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after
        """Seconds to wait that the server asked for."""
        self.again = again
        """False where another attempt would cost the same and give the same."""


@dataclass(frozen=True)
class Answer:
    """What became of one question."""

    text: str = ""
    """As the model wrote it."""
    unanswered: str = ""
    """Why there is no text to read."""
    chances: Mapping[str, float] = field(default_factory=dict)
    """Probability by letter, where the server gives it."""


@dataclass(frozen=True)
class Clock:
    """Time, as the sender sees it."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    wall: Callable[[], float] = time.time
    """Seconds since 1970, for a Retry-After that is a date."""
    jitter: Callable[[], float] = random.random
    """In [0, 1): spreads the retries of several threads."""


@dataclass(eq=False)
class Sender:
    """Sends questions from a few threads, at one pace for all, and again where the server was busy."""

    a_minute: float = 60.0
    """Requests per minute at most, retries among them."""
    threads: int = 4
    attempts: int = 6
    """Of one question, at most."""
    timeout: float = 60.0
    """Seconds that one attempt may take."""
    first_wait: float = 1.0
    """Seconds before the second attempt, up to as much again at random; doubled for each further one."""
    longest_wait: float = 120.0
    """Seconds; a server that asks for more is not asked again for this image."""
    lost_in_a_row: int = 10
    """Questions that may go unanswered by the server one after another before the run stops."""
    clock: Clock = field(default_factory=Clock, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _next: float = field(default=-math.inf, init=False, repr=False)
    _lost: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        bounds.number("a_minute", self.a_minute, 1e-3, 1e12)
        bounds.whole("threads", self.threads, 1, 256)
        bounds.whole("attempts", self.attempts, 1, 100)
        bounds.number("timeout", self.timeout, 1e-3, 86_400)
        bounds.number("first_wait", self.first_wait, 0, 86_400)
        bounds.number("longest_wait", self.longest_wait, 0, 86_400)
        bounds.whole("lost_in_a_row", self.lost_in_a_row, 1, 1_000_000)

    def each(self, questions: Iterable[Callable[[], Answer]]) -> Iterator[tuple[int, Answer]]:
        """The answers as they come, each with the position of its question.

        A thread gets its next question when its last answer was taken, so that no more answers than threads are ever
        on their way.

        Raises:
            InterpError: the server refused one for good, or answered none of `lost_in_a_row`; the rest is not sent,
                and what was in flight is given first.
        """
        stop, waiting = threading.Event(), enumerate(questions)
        failure: BaseException | None = None
        with ThreadPoolExecutor(self.threads) as pool:
            running = {pool.submit(self.ask, q, stop): at for at, q in islice(waiting, self.threads)}
            try:
                while running:
                    done = wait(running, return_when=FIRST_COMPLETED).done.pop()
                    at = running.pop(done)
                    if error := done.exception():
                        failure = failure or error
                        stop.set()
                    elif (answer := done.result()) is not None:
                        yield at, answer
                    if not stop.is_set():
                        running |= {pool.submit(self.ask, q, stop): n for n, q in islice(waiting, 1)}
            finally:
                stop.set()
        if failure is not None:
            raise failure

    def ask(self, send: Callable[[], Answer], stop: threading.Event | None = None) -> Answer | None:
        """The answer to one question; None if it was stopped before it was sent.

        `send` asks once; it raises `Busy` where another attempt may help. Once `stop` is set, nothing more is sent.
        """

        def once() -> Answer | None:
            self._take_turn()
            return None if stop is not None and stop.is_set() else send()

        attempts = Retrying(
            retry=retry_if_exception(self._worth_another),
            stop=stop_after_attempt(self.attempts),
            wait=self._pause,
            sleep=self.clock.sleep,
            reraise=True,
        )
        try:
            answer = attempts(once)
        except Busy as busy:
            answer, lost = Answer(unanswered=busy.reason), True
        else:
            lost = False
        if answer is not None:
            self._count(lost, answer.unanswered)
        return answer

    def _worth_another(self, error: BaseException) -> bool:
        return isinstance(error, Busy) and error.again and (error.after or 0) <= self.longest_wait

    def _take_turn(self) -> None:
        with self._lock:
            now = self.clock.now()
            turn = max(now, self._next)
            self._next = turn + 60 / self.a_minute
        if turn > now:
            self.clock.sleep(turn - now)

    def _pause(self, state: RetryCallState) -> float:
        """Seconds before the next attempt; where the server named a time, all threads wait for their turn instead."""
        if state.attempt_number >= self.attempts:  # tenacity asks before it stops: nobody has to wait for that
            return 0.0
        busy = state.outcome.exception() if state.outcome else None
        if isinstance(busy, Busy) and busy.after is not None:
            with self._lock:
                self._next = max(self._next, self.clock.now() + busy.after)
            return 0.0
        waits = self.first_wait * 2 ** (state.attempt_number - 1) * (1 + self.clock.jitter())
        return min(waits, self.longest_wait)

    def _count(self, lost: bool, reason: str) -> None:
        with self._lock:
            self._lost = self._lost + 1 if lost else 0
            stop = self._lost >= self.lost_in_a_row
            self._lost = 0 if stop else self._lost
        if stop:
            raise InterpError(
                f"the server answered none of {self.lost_in_a_row} questions in a row, the last after "
                f"{self.attempts} attempts ({reason}); measure again later to go on, or with fewer requests per minute"
            )
