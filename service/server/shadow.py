"""The second knowledge of SITBONE_SHADOW_DIR: what it would have decided of the same calls, found out after they were
answered.

In each worker it runs in a process of its own, forked when the worker begins, which the system lets work only while
nobody else wants a processor: in a thread it would take turns with the calls. It compares a tenth of the time at most,
as both share caches, memory and whoever hands the calls over. What fails there is counted, and no caller hears of it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Collection
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import Empty, Full, Queue
from threading import Lock
from time import monotonic
from typing import NamedTuple

from cds_hooks import CallRecord, CdsHooksError, HookRequest
from service.answers.answered import Answered
from service.answers.orders import check_templates
from service.background import Background
from service.knowledge_model.model import Knowledge
from service.reasoning.differences import NOTHING_DECIDED, REFUSED, Decided, Difference, decided, differences
from service.release.states import knowledge_of, release_of
from service.service_ids import ABOUT_CHARTS
from service.services.evaluation import Evaluator
from service.services.registry import services_by
from service.settings import Settings, SettingsError
from service.site_codes import site_codes_of

_LOG = logging.getLogger("sitbone")
# Above this share of the calls that a process may have in flight, none is compared.
_BUSY = 0.8
# How many calls wait for the other process, each with its chart, and how many bytes of charts: a large one waits alone.
_WAITING, _WAITING_BYTES = 16, 10_000_000
# How long it rests after a comparison, in the time that this took.
_REST = 9
# What became of a call that was to be compared.
SAME, CHANGED, FAILED, SKIPPED = OUTCOMES = ("same", "changed", "failed", "skipped")
# What decides whether a chart is of this pain at all.
_READING = ("findings", "definitions", "codes", "answers", "engine", "synonyms", "medicine_names")


class Job(NamedTuple):
    """A call that was answered: what was asked when, and what was decided."""

    request: HookRequest
    service_id: str
    now: datetime
    decided: Decided


@dataclass(frozen=True, slots=True)
class Compared:
    """What became of a call: one of OUTCOMES, what the other knowledge decides otherwise, and whether by either the
    chart is of this pain."""

    outcome: str
    differences: tuple[Difference, ...] = ()
    complaint: bool = False


class Other:
    """The second knowledge, as the services answer by it; `never_sends`: see Evaluator.

    Raises KnowledgeError and SettingsError where it cannot be used in the place of the one that answers.
    """

    def __init__(
        self,
        settings: Settings,
        answering: Knowledge,
        now: datetime,
        never_sends: Callable[[str | None], Collection[str]],
    ) -> None:
        settings = replace(settings, knowledge_dir=settings.shadow_dir, signatures=None)
        knowledge = knowledge_of(settings)
        if knowledge.id != answering.id:
            raise SettingsError(
                f"SITBONE_SHADOW_DIR holds the knowledge {knowledge.id}, and what answers is {answering.id}: they "
                "cannot be compared."
            )
        check_templates(knowledge, now)
        self.digest = release_of(settings, knowledge).digests.release
        site_codes = site_codes_of(settings, knowledge)
        self._now = now
        evaluator = Evaluator(knowledge, lambda: self._now, site_codes, never_sends)
        evaluator.assessor.kernel.prepare()
        self._services = services_by(evaluator)
        self._sought = evaluator.assessor.sought
        # Then a chart in which nothing of this pain is found has nothing of it by this one either.
        self._reads_alike = all(getattr(knowledge, part) == getattr(answering, part) for part in _READING)

    def says_nothing_either(self, call: CallRecord[Answered]) -> bool:
        """Whether it is plain without asking that it decides the same: nothing. What is about orders may say something
        of a chart that states nothing of this pain."""
        case = call.answered.assessment.case if call.answered else None
        if case is None or call.service_id not in ABOUT_CHARTS or not self._reads_alike:
            return False
        return self._sought.isdisjoint(case.assertions)

    def compare(self, job: Job) -> Compared:
        """What it decides otherwise of a call; one at a time."""
        self._now = job.now
        try:
            answered = self._services.find(job.service_id, job.request.hook).answer(job.request)
        except CdsHooksError:
            found, other = [Difference(REFUSED, "", "")], NOTHING_DECIDED
        else:
            found, other = [], decided(answered.assessment, answered.fired)
        found = [*differences(job.decided, other), *found]
        return Compared(CHANGED if found else SAME, tuple(found), job.decided.complaint or other.complaint)


class Shadow:
    """Has the other knowledge look at calls that were answered, a share of them in percent, one after the other with a
    rest after each, while less than most of the capacity is in use, and tells what came of it.

    `busy` says how much of the capacity other calls take, from 0 to 1. Made before the workers are forked: `start`
    begins the process, in a worker that has no thread yet; without it there is a thread in its place.
    """

    def __init__(
        self,
        other: Other,
        share: int,
        busy: Callable[[], float],
        told: Callable[[CallRecord[Answered], Compared], None],
    ) -> None:
        self.other, self._share, self._busy, self._told = other, share, busy, told
        self._waiting: Queue[tuple[CallRecord[Answered], Job, int] | None] = Queue(_WAITING)
        self._lock, self._bytes = Lock(), 0
        self._one_by_one = Background("shadow", self._work)
        self._rest: Callable[[float], object] = self._one_by_one.stopping.wait
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._apart: Executor | None = None
        self._failing = False

    def start(self) -> None:
        """Begin the process; for a worker that begins."""
        context = multiprocessing.get_context("fork")
        try:
            ours, theirs = context.Pipe()
            process = context.Process(target=_compare_on, args=(self.other, theirs, ours), name="shadow", daemon=True)
            process.start()
        except OSError as problem:
            _LOG.error("shadow: no process of its own, %s: it takes turns with the calls", type(problem).__name__)
            return
        theirs.close()
        self._process, self._pipe = process, ours

    def take(self, call: CallRecord[Answered], now: datetime) -> None:
        """Have a call looked at; waits for nothing. `now` is when it was answered."""
        request, answered = call.request, call.answered
        if request is None or answered is None or call.status != 200 or call.is_check:
            return
        if self._share < 100 and random.random() * 100 >= self._share:  # noqa: S311 - a sample, no secret
            return
        if self.other.says_nothing_either(call):
            self._told(call, Compared(SAME))
            return
        # Before anything is made of it: most calls of a busy hour end here.
        if self._waiting.full() or self._busy() > _BUSY:
            self._told(call, Compared(SKIPPED))
            return
        size = sum(memoryview(raw).nbytes for value in request.prefetch.values() for raw in value.resources)
        if self._bytes and self._bytes + size > _WAITING_BYTES:
            self._told(call, Compared(SKIPPED))
            return
        # No token is handed on.
        job = Job(
            replace(request, fhir_authorization=None),
            call.service_id,
            answered.assessment.case.now if answered.assessment.case else now,
            decided(answered.assessment, answered.fired),
        )
        with self._lock:
            self._bytes += size
            self._one_by_one.start()
        try:
            # Of the record only what is written down is kept until then.
            self._waiting.put_nowait((replace(call, request=None, answered=None), job, size))
        except Full:
            self._let_go(size)
            self._told(call, Compared(SKIPPED))

    def close(self) -> None:
        """Leave out what waits, and end the process."""
        with suppress(Empty):
            while True:
                if left := self._waiting.get_nowait():
                    self._told(left[0], Compared(SKIPPED))
                    self._let_go(left[2])
                self._waiting.task_done()
        self._waiting.put(None)
        self._one_by_one.close()
        if self._process is not None and self._pipe is not None:
            self._pipe.close()
            self._process.join()
            self._process = self._pipe = None

    def _work(self) -> None:
        while (given := self._waiting.get()) is not None:
            call, job, size = given
            began = monotonic()
            self._told(call, self._compared(job))
            # Nothing of the chart is kept while it rests.
            del given, job
            self._let_go(size)
            self._waiting.task_done()
            self._rest(_REST * (monotonic() - began))
        self._waiting.task_done()

    def _let_go(self, size: int) -> None:
        with self._lock:
            self._bytes -= size

    def _compared(self, job: Job) -> Compared:
        if self._pipe is None:
            self._apart = self._apart or ThreadPoolExecutor(1, thread_name_prefix="shadow")
            found = _compare(self.other, self._apart, job)
        else:
            try:
                self._pipe.send(job)
                found = self._pipe.recv()
            except (OSError, EOFError) as problem:
                # The process has died.
                found = type(problem).__name__
        if isinstance(found, Compared):
            self._failing = False
            return found
        if not self._failing:
            self._failing = True
            _LOG.error("shadow: a call could not be compared, %s", found)
        return Compared(FAILED)


def _compare(other: Other, apart: Executor, job: Job) -> Compared | str:
    """What comes of a call, or the class of what went wrong: what it says may be of a chart."""
    future = apart.submit(other.compare, job)
    problem = future.exception()
    return type(problem).__name__ if problem else future.result()


def _compare_on(other: Other, pipe: Connection, of_worker: Connection) -> None:
    """What the process does: it yields to everybody, and ends with the worker, which has the other end of the pipe."""
    of_worker.close()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A worker that begins hears nothing yet, and so what it forks.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(EOFError, OSError), ThreadPoolExecutor(1) as apart:
        while True:
            pipe.send(_compare(other, apart, pipe.recv()))
