"""The CDS service that looks whether a booked visit is soon enough for what is on the chart.

How many days a red flag allows is knowledge (guideline.toml, seen-within-…). Days are counted as a patient counts them,
in the zone of the appointment. Of a span, such as a month or the period that was asked for, every day has to be soon
enough: any of them may become the visit. An appointment cannot be moved from here, and what its priority means differs
from site to site: the suggestions are the urgent referrals that the finding calls for. One that is ordered is suggested
no more, and the card stays: the visit that is being booked is still too late.
Specification: CDS Hooks Library, appointment-book; FHIR R4 Appointment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from math import inf
from typing import Any

from cds_hooks import HookRequest
from service.answers.answered import Answered
from service.answers.cards import Advice, Change, order_label
from service.chart.draft_orders import ContextResource, HookContext
from service.chart.elements import as_dict, as_list, as_text
from service.chart.fhir_time import read_when
from service.knowledge_model.conditions import Interval
from service.knowledge_model.model import KnowledgeError
from service.reasoning.assessment import Judgement
from service.reasoning.decision import Fact
from service.reasoning.evidence import Fired
from service.reasoning.visit_limits import CLOSING, FIRST, PAST, URGENT, Limit, limits_of_variants
from service.services.evaluation import Evaluation, Evaluator, in_context

_KIND = "appointment"
_ABOUT = "appointments"
_ZONE = re.compile(r"([+-])(\d\d):(\d\d)\Z")


@dataclass(frozen=True, slots=True)
class _Booked:
    """An appointment, and the days from today on which it may be; None where it names none that can be read."""

    draft: ContextResource
    days: Interval | None
    past: bool


class AppointmentTiming:
    """Answers appointment-book; made once. Raises KnowledgeError for a limit that is missing or of nothing."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator, knowledge = evaluator, evaluator.knowledge
        limits = {name for name in knowledge.thresholds if name.startswith(("seen-within-", "seen-by-day-"))}
        needed = {f"seen-within-{indicator}" for indicator in URGENT}
        raised_by = [r.id for r in knowledge.recommendations if r.red_flag]
        planned_by = [r.id for r in knowledge.recommendations if r.kind == "plan"]
        of_all = (*knowledge.engine.red_flags, *raised_by, *planned_by)
        known = needed | {f"{name}-{of}" for of in of_all for name in needed}
        windows = {f"seen-by-day-{i}-{of}" for i in URGENT for of in of_all}
        if not limits.isdisjoint(windows):
            needed |= {CLOSING, PAST}
        for name in sorted(needed - limits):
            raise KnowledgeError("guideline.toml", f"thresholds.{name}", "is missing")
        for name in sorted(limits - known - windows - needed - {FIRST}):
            raise KnowledgeError("guideline.toml", f"thresholds.{name}", "is of no indicator and red flag")

    def needs_chart(self, request: HookRequest) -> bool:
        """Whether any appointment is a visit to come."""
        context = in_context(request, "appointments")
        return _is_to_come(context, self._booked(context))

    def _booked(self, context: HookContext) -> list[_Booked]:
        now = self._evaluator.clock()
        return [_booked(draft, now) for draft in context.resources if draft.kind == "Appointment"]

    def answer(self, request: HookRequest) -> Answered:
        """One card where the earliest appointment is later than the chart allows."""
        context = in_context(request, "appointments")
        booked = self._booked(context)
        if not _is_to_come(context, booked):
            judged = {"appointments": [_entry(one, None, (), received=False) for one in booked]}
            return self._evaluator.say_nothing(request, {**judged, "draftsLeftOut": context.left_out()})
        evaluation = self._evaluator.evaluate(request)
        judgement = self._judged(evaluation, booked)
        would_change = evaluation.would_change(_KIND, [(_ABOUT, self._evaluator.assessor.tiers(judgement))])
        fired, limit, received = judgement.fired, evaluation.limit(), not evaluation.case.lacks()
        said = evaluation.said(limit.fired) if limit else ()
        topic = self._evaluator.knowledge.engine.topics[_KIND]
        about = (*fired, *(limit.fired if limit and fired else ()))
        advice = [Advice(topic, _ABOUT, about, tuple(_referrals(evaluation, limit)), several=True)] if fired else []
        return evaluation.advise(
            advice,
            [judgement],
            judged={
                "appointments": [_entry(one, limit, said, received=received) for one in booked],
                "draftsLeftOut": context.left_out(),
            },
            would_change=would_change,
        )

    def _judged(self, evaluation: Evaluation, booked: Sequence[_Booked]) -> Judgement:
        # What lies in the past is no visit to come.
        ahead = [one for one in booked if not one.past]
        known = [one.days for one in ahead if one.days]
        earliest = Interval(min(d.low for d in known), min(d.high for d in known)) if known else None
        assessment = evaluation.assessment
        limits = limits_of_variants(self._evaluator.knowledge, assessment)
        facts: dict[str, Fact] = {
            "days-until-appointment": earliest,
            "days-allowed": assessment.fact(
                (None if limit is None else Interval(float(limit.days), float(limit.days)), of) for limit, of in limits
            ),
            "later-than-allowed": assessment.fact((_is_late(earliest, limit), of) for limit, of in limits),
            "emergency-care-due": assessment.fact((limit is not None and limit.emergency, of) for limit, of in limits),
            "chart-not-heard": evaluation.case.lacks(),
        }
        unknown = assessment.complaint == "unknown"
        return (evaluation.screened(()) if unknown else evaluation).judge(_KIND, facts)


def _is_to_come(context: HookContext, booked: Sequence[_Booked]) -> bool:
    """Whether there is a visit to come; one of which nothing can be read is one without a time."""
    nothing_else = not (booked or context.other_patient or context.cancelled)
    return nothing_else or any(not one.past for one in booked)


def _booked(draft: ContextResource, now: datetime) -> _Booked:
    spans = [span for start, end in _spans(draft.resource) if (span := _days_until(start, end, now))]
    to_come = [days for days, past in spans if not past]
    if not to_come:
        return _Booked(draft, spans[0][0] if spans else None, past=bool(spans))
    return _Booked(draft, Interval(min(d.low for d in to_come), max(d.high for d in to_come)), past=False)


def _spans(appointment: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """First and last of when it may begin: its start, or where no time is set yet, each period that was asked for."""
    if start := as_text(appointment.get("start")):
        yield start, start
        return
    for period in map(as_dict, as_list(appointment.get("requestedPeriod"))):
        yield as_text(period.get("start")), as_text(period.get("end"))


def _days_until(start: str, end: str, now: datetime) -> tuple[Interval, bool] | None:
    """Calendar days from today to the first and to the last day of a span, and whether all of it is past.

    Days are counted in the zone in which each end is written. A span that is open begins now, or never ends; None where
    neither end can be read.
    """
    first, last = read_when(start), read_when(end)
    if first is None and last is None:
        return None
    high = _days(last.high, end, now) if last else inf
    if last and last.high < now:
        return Interval(_days(first.low, start, now) if first else high, high), True
    return Interval(max(_days(first.low, start, now), 0.0) if first else 0.0, max(high, 0.0)), False


def _days(moment: datetime, written: str, now: datetime) -> float:
    found = _ZONE.search(written.strip())
    zone = UTC
    if found and "T" in written:
        offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
        if offset < timedelta(hours=24):
            zone = timezone(-offset if found[1] == "-" else offset)
    return float((moment.astimezone(zone).date() - now.astimezone(zone).date()).days)


def _is_late(days: Interval | None, limit: Limit | None) -> bool | None:
    """Whether it is later than is allowed; None where that depends on the day of the span, or where there is no day."""
    if limit is None:
        return None if days is None else False
    if limit.emergency:
        return True
    if days is None:
        return None
    if days.high <= limit.days:
        return False
    return True if days.low > limit.days else None


def _referrals(evaluation: Evaluation, limit: Limit | None) -> Iterator[Change]:
    """The urgent referrals that what sets the limit calls for."""
    knowledge, assessment = evaluation.evaluator.knowledge, evaluation.spoken()
    behind = {fired.recommendation.id: fired for fired in evaluation.said(limit.fired)} if limit else {}
    for call in assessment.referrals:
        called_by = assessment.called_by(call)
        fired = next((one for id_, one in behind.items() if id_ in called_by), None)
        if call.priority == "routine" or fired is None:
            continue
        create = evaluation.order(call, assessment.side, fired)
        label = order_label(knowledge, create.description, call.priority)
        yield Change(call.key, label, (create,), order=call.key)


def _entry(booked: _Booked, limit: Limit | None, said: Sequence[Fired], *, received: bool) -> dict[str, Any]:
    """One appointment in the extension, with what of the limit is `said`; whether it is soon enough is not said on a
    chart with data missing.
    """
    days = booked.days
    late = _is_late(days, limit)
    return {
        "reference": booked.draft.reference,
        **({"days": int(days.high)} if days and days.high < inf else {}),
        **({"earliestDays": int(days.low)} if days and days.low < days.high else {}),
        **({"limitDays": limit.days} if limit else {}),
        **({"because": _because(said)} if said else {}),
        **({"emergencyCare": True} if limit and limit.emergency else {}),
        **({"soonEnough": not late} if late is not None and not booked.past and (late or received) else {}),
    }


def _because(fired: Sequence[Fired]) -> list[str]:
    """The red flags that set the limit, and the recommendations that are none."""
    return list(
        dict.fromkeys(
            item.recommendation.red_flag.id if item.recommendation.red_flag else item.recommendation.id
            for item in fired
        )
    )
