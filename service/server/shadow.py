"""The second knowledge of SITBONE_SHADOW_DIR: what it would have decided of the same calls, found out after they were
answered.

In each worker it runs in a process of its own, forked when the worker begins, which the system lets work only while
nobody else wants a processor: in a thread it would take turns with the calls. What fails there is counted, and no
caller hears of it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Collection
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from multiprocessing.connection import wait
from threading import Lock, Thread
from typing import NamedTuple

from cds_hooks import CallRecord, CdsHooksError, HookRequest
from service.answers.answered import Answered
from service.answers.orders import check_templates
from service.knowledge_model import loader
from service.knowledge_model.model import Knowledge
from service.reasoning.differences import NOTHING_DECIDED, REFUSED, Decided, Difference, decided, differences
from service.release.states import release_of
from service.service_ids import ABOUT_CHARTS
from service.services.evaluation import Evaluator
from service.services.registry import services_by
from service.settings import Settings, SettingsError
from service.site_codes import site_codes_of

_LOG = logging.getLogger("sitbone")
# Above this share of the calls that a process may have in flight, none is compared.
_BUSY = 0.8
# How many calls wait for the other process, each with its chart.
_WAITING = 16
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
        knowledge = loader.load(settings.knowledge_dir, affiliate_snomed=settings.snomed_ct == "all")
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
    """Has the other knowledge look at calls that were answered, a share of them in percent, while less than most of the
    capacity is in use, and tells what came of it.

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
        self._lock = Lock()
        self._waiting = 0
        self._executor: Executor | None = None
        self._compare: Callable[[Job], Compared] = other.compare
        self._failing = False

    def start(self) -> None:
        """Begin the process; for a worker that begins."""
        try:
            executor = ProcessPoolExecutor(1, multiprocessing.get_context("fork"), _begin, (self.other,))
            # It is forked with the first that it is given.
            executor.submit(os.getpid)
        except OSError as problem:
            # Without shared memory there is none.
            _LOG.error("shadow: no process of its own, %s: it takes turns with the calls", type(problem).__name__)
            return
        self._executor, self._compare = executor, _compare

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
        with self._lock:
            has_room = self._waiting < _WAITING and self._busy() <= _BUSY
            self._waiting += has_room
        if not has_room:
            self._told(call, Compared(SKIPPED))
            return
        # No token is handed on.
        job = Job(
            replace(request, fhir_authorization=None),
            call.service_id,
            answered.assessment.case.now if answered.assessment.case else now,
            decided(answered.assessment, answered.fired),
        )
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="shadow")
        # Of the record only what is written down is kept until then.
        told = partial(self._done, replace(call, request=None, answered=None))
        try:
            self._executor.submit(self._compare, job).add_done_callback(told)
        except (BrokenExecutor, RuntimeError) as problem:
            # It has died, or the worker ends.
            self._failed(call, problem)

    def close(self) -> None:
        """Leave out what waits, and end the process."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
            self._executor, self._compare = None, self.other.compare

    def _done(self, call: CallRecord[Answered], future: Future[Compared]) -> None:
        if future.cancelled():
            self._give_back(call, Compared(SKIPPED))
        elif problem := future.exception():
            self._failed(call, problem)
        else:
            self._failing = False
            self._give_back(call, future.result())

    def _failed(self, call: CallRecord[Answered], problem: BaseException) -> None:
        if not self._failing:
            self._failing = True
            # What it says may be of a chart.
            _LOG.error("shadow: a call could not be compared, %s", type(problem).__name__)
        self._give_back(call, Compared(FAILED))

    def _give_back(self, call: CallRecord[Answered], compared: Compared) -> None:
        with self._lock:
            self._waiting -= 1
        self._told(call, compared)


# In the process of its own: what it compares by.
_other: Other | None = None


def _begin(other: Other) -> None:
    """Make the process what it is to be: it yields to everybody, and ends with the worker."""
    global _other  # noqa: PLW0603 - the one thing that a process of an executor can keep
    _other = other
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    Thread(target=_end_with_the_worker, name="parent", daemon=True).start()


def _end_with_the_worker() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(0)


def _compare(job: Job) -> Compared:
    if _other is None:
        raise RuntimeError("the process has not begun")
    return _other.compare(job)
