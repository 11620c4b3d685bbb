"""The CDS service that looks whether a booked visit is soon enough for what the chart holds.

How many days a red flag allows is knowledge (guideline.toml, seen-within-…). Days are counted as a patient counts them,
in the zone of the appointment. An appointment cannot be moved from here, and what its priority means differs from site
to site: the suggestions are the urgent referrals that the finding calls for.
Specification: CDS Hooks Library, appointment-book; FHIR R4 Appointment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from cds_hooks import Action, HookRequest, HookResponse
from service.answers.cards import Advice, Change
from service.answers.orders import Ordering, service_request
from service.chart.drafts import Draft, in_hand
from service.chart.fhir_time import read_when
from service.chart.statements import as_dict, as_list, as_text
from service.guideline.conditions import Interval, Value
from service.guideline.forms import RED_FLAGS
from service.guideline.model import Guideline, KnowledgeError
from service.reasoning.assessment import Assessment, Fired
from service.services.consultation import Consultant, Consultation

ID = "visit-planning"
_KIND = _TOPIC = "appointment"
_ABOUT = "appointments"
_URGENT = ("critical", "warning")
_ZONE = re.compile(r"([+-])(\d\d):(\d\d)\Z")


@dataclass(frozen=True, slots=True)
class _Limit:
    """The fewest days that something on the chart allows, and what does."""

    days: int
    fired: tuple[Fired, ...]


class VisitPlanning:
    """Answers appointment-book; made once. Raises KnowledgeError for a limit that is missing or of nothing."""

    def __init__(self, consultant: Consultant) -> None:
        self._consultant = consultant
        limits = {name for name in consultant.guideline.thresholds if name.startswith("seen-within-")}
        needed = {f"seen-within-{indicator}" for indicator in _URGENT}
        known = needed | {f"{name}-{flag}" for name in needed for flag in RED_FLAGS}
        for name in sorted(needed - limits):
            raise KnowledgeError("guideline.toml", f"thresholds.{name}", "is missing")
        for name in sorted(limits - known):
            raise KnowledgeError("guideline.toml", f"thresholds.{name}", "is of no indicator and red flag")

    def answer(self, request: HookRequest) -> HookResponse:
        """One card where the earliest appointment is later than the chart allows."""
        hand = in_hand(request, "appointments")
        consultation = self._consultant.consult(request)
        booked = [draft for draft in hand.drafts if draft.kind == "Appointment"]
        days = {id(draft): _days_until(_start(draft.resource), consultation.now) for draft in booked}
        # What lies in the past is no visit to come.
        ahead = [draft for draft in booked if (day := days[id(draft)]) is None or day >= 0]
        known = [day for draft in ahead if (day := days[id(draft)]) is not None]
        earliest = min(known, default=None)
        limit = _limit(consultation.assessment, self._consultant.guideline)
        late = earliest > limit.days if limit and earliest is not None else None
        heard = not consultation.case.unheard()
        facts: dict[str, Value] = {
            "days-until-appointment": None if earliest is None else _exactly(earliest),
            "days-allowed": None if limit is None else _exactly(limit.days),
            "later-than-allowed": late,
            "chart-not-heard": not heard,
        }
        if not ahead:
            fired: tuple[Fired, ...] = ()
        elif consultation.assessment.complaint == "unknown":
            fired = consultation.screened(()).judge(_KIND, facts)
        else:
            fired = consultation.judge(_KIND, facts)
        about = (*fired, *(limit.fired if limit and fired else ()))
        advice = [Advice(_TOPIC, _ABOUT, about, tuple(_referrals(consultation, limit)), several=True)] if fired else []
        return consultation.advise(
            advice,
            judged={
                "appointments": [_entry(draft, days[id(draft)], limit, heard=heard) for draft in booked],
                "draftsLeftOut": hand.left_out(),
            },
        )


def _exactly(days: int) -> Interval:
    return Interval(float(days), float(days))


def _start(appointment: Mapping[str, Any]) -> str:
    """When it begins, or where no time is set yet, the begin of the first period that was asked for."""
    periods = map(as_dict, as_list(appointment.get("requestedPeriod")))
    return as_text(appointment.get("start")) or next((as_text(period.get("start")) for period in periods), "")


def _days_until(start: str, now: datetime) -> int | None:
    """Calendar days from today to this day, in the zone in which it is written; None when it cannot be read."""
    when = read_when(start)
    if when is None:
        return None
    found = _ZONE.search(start.strip())
    zone = UTC
    if found and "T" in start:
        offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
        if offset < timedelta(hours=24):
            zone = timezone(-offset if found[1] == "-" else offset)
    return (when.low.astimezone(zone).date() - now.astimezone(zone).date()).days


def _limit(assessment: Assessment, guideline: Guideline) -> _Limit | None:
    """What allows the fewest days of all that is urgent on the chart."""
    allowed = []
    for fired in assessment.fired:
        recommendation = fired.recommendation
        if fired.indicator in _URGENT and recommendation.kind in ("red-flag", "plan"):
            flag = recommendation.red_flag.id if recommendation.red_flag else ""
            own = guideline.thresholds.get(f"seen-within-{fired.indicator}-{flag}")
            threshold = own or guideline.thresholds[f"seen-within-{fired.indicator}"]
            allowed.append((int(threshold["value"]), fired))
    if not allowed:
        return None
    days = min(day for day, _fired in allowed)
    return _Limit(days, tuple(fired for day, fired in allowed if day == days))


def _referrals(consultation: Consultation, limit: _Limit | None) -> Iterator[Change]:
    """The urgent referrals that what sets the limit calls for."""
    guideline, assessment = consultation.consultant.guideline, consultation.assessment
    behind = {fired.recommendation.id: fired for fired in limit.fired} if limit else {}
    for call in assessment.referrals:
        if call.priority == "routine" or call.recommendation not in behind:
            continue
        fired = behind[call.recommendation]
        ordering = Ordering.of(
            consultation.request,
            assessment.side,
            consultation.now,
            fired.recommendation.title,
            (item.resource for item in fired.evidence),
        )
        name = f"referral-{call.to}"
        request = service_request(guideline.orders[name], call.priority, ordering, guideline.wording.sides)
        title = request["code"]["text"]
        label = guideline.wording.sentences["order_label"].format(title=title)
        yield Change(name, label, (Action("create", title, resource=request),))


def _entry(draft: Draft, days: int | None, limit: _Limit | None, *, heard: bool) -> dict[str, Any]:
    """One appointment in the extension; whether it is soon enough is not said on a chart that was not heard."""
    late = days is not None and limit is not None and days > limit.days
    return {
        "reference": draft.reference,
        **({} if days is None else {"days": days}),
        **({"limitDays": limit.days, "because": _because(limit.fired)} if limit else {}),
        **({"soonEnough": not late} if days is not None and days >= 0 and (late or heard) else {}),
    }


def _because(fired: Sequence[Fired]) -> list[str]:
    """The red flags that set the limit, and the recommendations that are none."""
    return list(
        dict.fromkeys(
            item.recommendation.red_flag.id if item.recommendation.red_flag else item.recommendation.id
            for item in fired
        )
    )
