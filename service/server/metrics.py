"""What a monitoring system reads of the running service, in the text format of Prometheus.

Labels are names that the service knows before anybody calls: clients, services, hooks, prefetch keys and their states,
ids of recommendations, routes. Nothing of a chart, no id of a patient and nothing that a caller has written is one.
What each metric means, and when to worry: docs/watching.md.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import struct
import time
from bisect import bisect_left
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import nan
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Literal, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from cds_hooks import CallRecord
from service.release.mode import ALL_LIVE
from service.release.states import STATES, Standings

if TYPE_CHECKING:
    from service.answers.answered import Answered
    from service.audit import Health
    from service.audit.expectations import Figure
    from service.server.canary import Round

CONTENT_TYPE = CONTENT_TYPE_LATEST
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# In memory where the system has such a place: the counts are written with every call.
_MEMORY = "/dev/shm"  # noqa: S108
_PREFIX = "sitbone-metrics-"
# In seconds: how long making a folder can take.
_MAKING = 10
# In seconds: a short chart takes a few milliseconds, a CDS client waits for a few seconds at most.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


# In seconds: how long counts wait in a process that shares them; and how many, where nobody reads them.
_EVERY = 0.5
_WAITING = 2_000
# How often reading is tried again, and after how many seconds.
_ATTEMPTS, _MOMENT = 20, 0.05


_OF_RULE, _OF_FINDING, _OF_UNREAD = ("client", "rule"), ("client", "finding"), ("client", "what")
# What is read of the audit trail, of whole days: see service/audit/expectations.py.
_WATCHED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "fired_share_low": ("The least share of the week at which it fires.", _OF_RULE),
    "fired_share_high": ("The greatest share of the week at which it fires.", _OF_RULE),
    "expected_share_low": ("The least share that is expected.", _OF_RULE),
    "expected_share_high": ("The greatest share that is expected.", _OF_RULE),
    "flag_absent_days": ("Days without it.", _OF_RULE),
    "flag_absent_limit_days": ("Days without it after which somebody has to look.", _OF_RULE),
    "finding_silent_days": ("Days with calls since it last came.", _OF_FINDING),
    "finding_silent_limit_days": ("Three times the usual gap.", _OF_FINDING),
    "unread_share": ("The share of the calls of the week with something that could not be read.", _OF_UNREAD),
    "unread_baseline": ("The share that is usual.", _OF_UNREAD),
    "disagreed_low": ("The least share of outcomes that say that it is wrong.", ("rule",)),
    "feedback_stopped": ("Whether a client that reported outcomes reports none.", ("client",)),
}


class _Call(NamedTuple):
    """What is counted of a call; most calls have many like them."""

    client: str
    service: str
    hook: str
    status: int
    states: tuple[tuple[str, str], ...]
    rules: tuple[str, ...]
    indicators: tuple[str, ...] | None
    suppressed: int
    mode: str


@dataclass(frozen=True, slots=True)
class _Response:
    """Of any request, also of one that is no call."""

    route: str
    status: int
    seconds: float


class _Histogram(Histogram):
    def observe_all(self, amounts: Sequence[float]) -> None:
        """As observe with each of them, which takes a step through shared memory for each."""
        self._sum.inc(sum(amounts))
        for place, number in Tally(bisect_left(self._upper_bounds, amount) for amount in amounts).items():
            self._buckets[place].inc(number)


def share() -> None:
    """Let this process and all that are forked from it count together, until this one ends. Before any Metrics."""
    parent = Path(_MEMORY if os.access(_MEMORY, os.W_OK) else gettempdir())
    _remove_what_was_left(parent)
    folder = mkdtemp(prefix=_PREFIX, dir=parent)
    # Held by this process and by all that are forked from it, until the last of them has ended, however it does.
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)
    owner = os.getpid()

    def remove() -> None:
        # Workers inherit this, and end before the process that they were forked from.
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    os.environ[_FOLDER] = folder
    # It was chosen when the library was imported, which may have been before.
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]


def _remove_what_was_left(parent: Path) -> None:
    """Remove the counts of processes that were killed: nobody holds their folders any more."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            # One that is being made at this moment is not held yet.
            if folder.stat().st_uid != os.geteuid() or time.time() - folder.stat().st_mtime < _MAKING:
                continue
            held = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(held)


def forget(process: int) -> None:
    """Leave out what a process that is dead had in flight; what it counted stays."""
    mark_process_dead(process)  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of an application. `key_ages` tell by client how many seconds ago its keys were loaded, if they were;
    `health` how the audit trail fares; `clock` gives seconds since 1970; `mode_of` says by the client's name whether
    it is live or silent; `suspended` how much is suspended, and `standings` what of the knowledge is in force.

    A call waits for a few entries in memory only. They are summed up before they are counted, when somebody reads them
    and, in processes that count together, twice a second by a thread, which starts with the first call.
    """

    def __init__(
        self,
        key_ages: Mapping[str, Callable[[], float | None]],
        health: Callable[[], Health] | None = None,
        clock: Callable[[], float] = time.time,
        *,
        mode_of: Callable[[str | None], str] = ALL_LIVE.of,
        suspended: Callable[[], int] = lambda: 0,
        standings: Callable[[], Standings] | None = None,
    ) -> None:
        self._key_ages, self._health, self._clock, self._mode_of = key_ages, health, clock, mode_of
        self._count_suspended, self._standings = suspended, standings
        self._folder = os.environ.get(_FOLDER)
        self._waiting: deque[tuple[_Call, Mapping[str, float]] | _Response] = deque()
        self._lock, self._hands, self._stopping = Lock(), Lock(), Event()
        self._thread: Thread | None = None
        self._calls_now = self._dropped_so_far = 0
        self._registry = CollectorRegistry()
        self._calls = self._counter("calls", "Calls of services.", "client", "service", "hook", "status", "mode")
        self._stages = self._histogram("stage_seconds", "What each stage of a call took.", "service", "stage")
        self._responses = self._counter("responses", "Responses to all requests.", "route", "status")
        self._response_seconds = self._histogram(
            "response_seconds", "From the headers of a request until its response is ready.", "route"
        )
        self._states = self._counter(
            "data_states", "How the data of a prefetch key came.", "client", "service", "key", "state"
        )
        self._rules = self._counter("rules_fired", "Recommendations that held.", "service", "rule", "mode")
        self._cards = self._counter("cards", "Cards, of silent calls those left out.", "service", "indicator", "mode")
        self._without_card = self._counter(
            "calls_without_card", "Calls for which there was no card.", "client", "service", "mode"
        )
        self._suppressed = self._counter("cards_suppressed", "Cards that were suppressed.", "service", "mode")
        self._in_flight = self._gauge("calls_in_flight", "Calls in flight.", "livesum")
        self._keys = self._gauge(
            "keys_loaded_timestamp_seconds", "When the keys of a client were last loaded.", "livemax", "client"
        )
        self._queued = self._gauge("audit_queued", "Calls that wait to be recorded.", "livesum")
        self._dropped = self._counter("audit_dropped", "Calls that the audit trail has lost.")
        self._shadow = self._counter("shadow", "Calls that the second knowledge was to look at.", "outcome")
        self._canary = self._gauge("canary_differs", "Published requests that are decided otherwise.", "livemax")
        self._canary_at = self._gauge(
            "canary_timestamp_seconds", "When all published requests were last decided again.", "livemin"
        )
        self._watched = {name: self._gauge(name, what, "livemax", *labels) for name, (what, labels) in _WATCHED.items()}
        self._seen: set[tuple[str, tuple[str, ...]]] = set()
        self._reloads_refused = self._counter("reloads_refused", "Reloads that were refused: what was there stayed.")
        self._suspended = self._gauge("suspended", "Recommendations and services that are suspended.", "livemax")
        self._recommendations = self._gauge("recommendations", "Recommendations in each state.", "livemax", "state")
        self._review_by = self._gauge(
            "review_by_timestamp_seconds", "Until when what is in force is to be read again; 0 for nothing.", "livemax"
        )

    def call(self, call: CallRecord[Answered]) -> None:
        """Count a call, also one that was refused or failed."""
        answered = call.answered
        counted = _Call(
            call.client or "",
            call.service_id,
            call.hook or "",
            call.status,
            tuple(call.states.items()),
            answered.recommendations() if answered else (),
            tuple(each.card.indicator for each in answered.advised) if answered else None,
            len(answered.suppressed) if answered else 0,
            answered.mode if answered else self._mode_of(call.client),
        )
        self._count((counted, call.seconds))

    def response(self, route: str, status: int, seconds: float) -> None:
        """Count a response; `route` is the pattern of its path, which no caller has written."""
        self._count(_Response(route, status, seconds))

    def take(self, number: int) -> None:
        """So many more calls are in flight."""
        with self._hands:
            self._calls_now += number

    def reloaded(self, *, refused: bool) -> None:
        """Count a reload that was refused; one that was taken counts nothing."""
        self._reloads_refused.inc(refused)

    def compared(self, outcome: str) -> None:
        """Count a call that the second knowledge was to look at: same, changed, failed or skipped."""
        self._shadow.labels(outcome).inc()

    def canary(self, found: Round) -> None:
        """Say how many published requests are decided otherwise."""
        self._canary.set(found.differing)
        self._canary_at.set(found.at)

    def watched(self, figures: Sequence[Figure]) -> None:
        """Say what the days before today were; what is no longer told of is no number."""
        told = {(each.metric, each.labels): each.value for each in figures}
        for metric, labels in self._seen - told.keys():
            self._watched[metric].labels(*labels).set(nan)
        for (metric, labels), value in told.items():
            self._watched[metric].labels(*labels).set(value)
        self._seen = {*told}

    def text(self) -> bytes:
        """All metrics, of all processes that count together."""
        self._sum_up()
        if self._folder is None:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, self._folder)  # type: ignore[no-untyped-call]
        for _ in range(_ATTEMPTS):
            # The file that a worker counts in is empty for a moment when it begins.
            with suppress(struct.error):
                return generate_latest(registry)
            time.sleep(_MOMENT)
        return generate_latest(registry)

    def close(self) -> None:
        """Count what waits, and end the thread; for a process that ends."""
        self._stopping.set()
        self._sum_up()

    def _count(self, what: tuple[_Call, Mapping[str, float]] | _Response) -> None:
        self._waiting.append(what)
        if self._folder is None:
            if len(self._waiting) >= _WAITING:
                self._sum_up()
        elif self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = Thread(target=self._go_on, name="metrics", daemon=True)
                    self._thread.start()

    def _go_on(self) -> None:
        while not self._stopping.wait(_EVERY):
            self._sum_up()

    def _sum_up(self) -> None:
        with self._lock:
            # Many calls are alike but for what they took: they are told apart once.
            calls: Tally[_Call] = Tally()
            responses: Tally[tuple[str, int]] = Tally()
            took: dict[tuple[_Histogram, str, str], list[float]] = {}
            for _ in range(len(self._waiting)):
                match self._waiting.popleft():
                    case _Response(route, status, seconds):
                        responses[route, status] += 1
                        took.setdefault((self._response_seconds, route, ""), []).append(seconds)
                    case (_Call() as call, stages):
                        calls[call] += 1
                        for stage, seconds in stages.items():
                            took.setdefault((self._stages, call.service, stage), []).append(seconds)
            for (route, status), number in responses.items():
                self._responses.labels(route, str(status)).inc(number)
            for (histogram, of, stage), all_seconds in took.items():
                observed = histogram.labels(of, stage) if stage else histogram.labels(of)
                observed.observe_all(all_seconds)
            for call, number in calls.items():
                self._sum_up_calls(call, number)
            self._in_flight.set(self._calls_now)
            self._ask()

    def _sum_up_calls(self, call: _Call, number: int) -> None:
        client, service, mode = call.client, call.service, call.mode
        self._calls.labels(client, service, call.hook, str(call.status), mode).inc(number)
        for key, state in call.states:
            self._states.labels(client, service, key, state).inc(number)
        for rule in call.rules:
            self._rules.labels(service, rule, mode).inc(number)
        for indicator in call.indicators or ():
            self._cards.labels(service, indicator, mode).inc(number)
        if call.indicators == ():
            self._without_card.labels(client, service, mode).inc(number)
        if call.suppressed:
            self._suppressed.labels(service, mode).inc(call.suppressed * number)

    def _ask(self) -> None:
        for client, age in self._key_ages.items():
            if (seconds := age()) is not None:
                self._keys.labels(client).set(self._clock() - seconds)
        self._suspended.set(self._count_suspended())
        if self._standings is not None:
            standings = self._standings()
            counts, review = standings.counts(), standings.earliest_review
            for state in STATES:
                self._recommendations.labels(state).set(counts.get(state, 0))
            # To the end of that day; where the site is, it may end half a day earlier or later.
            until = datetime.combine(review + timedelta(days=1), datetime.min.time(), UTC) if review else None
            self._review_by.set(until.timestamp() if until else 0)
        if self._health is not None:
            health = self._health()
            self._queued.set(health.queued)
            self._dropped.inc(health.dropped - self._dropped_so_far)
            self._dropped_so_far = health.dropped

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"sitbone_{name}", what, labels, registry=self._registry)

    def _histogram(self, name: str, what: str, *labels: str) -> _Histogram:
        return _Histogram(f"sitbone_{name}", what, labels, buckets=_BUCKETS, registry=self._registry)

    def _gauge(self, name: str, what: str, mode: Literal["livesum", "livemax", "livemin"], *labels: str) -> Gauge:
        return Gauge(f"sitbone_{name}", what, labels, registry=self._registry, multiprocess_mode=mode)
