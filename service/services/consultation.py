"""What every CDS service does first: read the chart of the patient in context, and assess it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from cds_hooks import HookRequest, SystemAction
from service.answers.answered import Answered, Judgement
from service.answers.cards import Advice, Responder
from service.chart.case import Case, CaseReader, LeftOut
from service.chart.completeness import all_left_out, blocking, chart_missing, is_nothing
from service.chart.drafts import InHand, in_hand
from service.chart.orders import NO_SITE_CODES, NOTHING_ORDERED, OrderReader, SiteCodes
from service.chart.patient import ReceivedChart
from service.guideline.conditions import Value
from service.guideline.model import Guideline
from service.pseudonyms import CardIds
from service.reasoning.assessment import Assessment, Assessor
from service.reasoning.differential import NO_SIDE_NAMED
from service.reasoning.evidence import Fired

# The indicators that allow a number of days until a visit; guideline.toml has it for each as seen-within-….
URGENT = ("critical", "warning")
# The fewest days that a window since the injury leaves while it closes, and the day after which it is past.
CLOSING, PAST = "seen-by-day-closing", "seen-by-day-past"


@dataclass(frozen=True, slots=True)
class Limit:
    """The fewest days until a visit that something on the chart allows, 0 for the same day, and what does.

    `emergency`: among it is something for which no visit is soon enough, but emergency care at once.
    """

    days: int
    fired: tuple[Fired, ...]
    emergency: bool = False


@dataclass(frozen=True, slots=True)
class Consultation:
    """One call: the request, its time, the chart that came with it, and what the guideline makes of that."""

    consultant: Consultant
    request: HookRequest
    now: datetime
    case: Case
    assessment: Assessment

    def judge(self, kind: str, facts: Mapping[str, Value]) -> Judgement:
        """See Assessor.judge."""
        fired = self.consultant.assessor.judge(self.assessment, kind, facts)
        return Judgement(self.assessment, kind, facts, fired)

    def limit(self) -> Limit | None:
        """What allows the fewest days of all that is urgent on the chart."""
        allowed = [
            (self.days_allowed(fired), fired)
            for fired in self.assessment.fired
            if fired.indicator in URGENT and fired.recommendation.kind in ("red-flag", "plan")
        ]
        if not allowed:
            return None
        days = min(day for day, _fired in allowed)
        emergency = any(self._is_for_emergency_care(fired) for _day, fired in allowed)
        return Limit(days, tuple(fired for day, fired in allowed if day == days), emergency)

    def days_allowed(self, fired: Fired) -> int:
        """How many days until a visit something urgent allows: from today, and where the evidence has a window since
        the injury, no later than that leaves.
        """
        thresholds = self.consultant.guideline.thresholds
        # The closest: of this recommendation, of its red flag, of whatever is as urgent.
        days = next(int(thresholds[name]["value"]) for name in _limits("seen-within", fired) if name in thresholds)
        by_day = next(
            (int(thresholds[name]["value"]) for name in _limits("seen-by-day", fired) if name in thresholds), 0
        )
        if by_day:
            closing, past = (int(thresholds[name]["value"]) for name in (CLOSING, PAST))
            open_still = (since for since in self.assessment.days_since_onset(fired) if since.low <= past)
            # Of a day that is not known exactly the earliest that it may be leaves the least.
            days = min((days, *(max(by_day - int(min(since.high, past)), closing) for since in open_still)))
        return days

    def _is_for_emergency_care(self, fired: Fired) -> bool:
        """A critical red flag that refers to emergency care at once, unless it has days of its own."""
        guideline, recommendation = self.consultant.guideline, fired.recommendation
        *own, _of_all = _limits("seen-within", fired)
        at_once = any(to.to == guideline.engine.emergency and to.priority == "stat" for to in recommendation.referrals)
        return fired.indicator == URGENT[0] and at_once and guideline.thresholds.keys().isdisjoint(own)

    def screened(self, treatments: Collection[str], *, by_side: bool = False) -> Consultation:
        """The same call with what the chart holds against these treatments alone; see Assessor.screen."""
        return replace(self, assessment=self.consultant.assessor.screen(self.case, treatments, by_side=by_side))

    def require_chart(self) -> None:
        """Raises PreconditionFailed where nothing tells of this pain, and not all arrived that may."""
        if self.assessment.complaint == "present":
            return
        case = self.case
        if keys := blocking(case.lacking, case.data, self.consultant.never_sends(self.request.client)):
            raise chart_missing(self.request.prefetch, keys)
        if case.is_left_out():
            raise all_left_out(case.left_out.other_patient, case.left_out.future, case.left_out.unreadable)

    def respond(self) -> Answered:
        """The cards about the chart."""
        on_chart = self.consultant.orders.read(chart_of(self.request)) if self.assessment.fired else NOTHING_ORDERED
        return self._unless_deceased(
            self.consultant.responder.respond(
                self.assessment,
                self.request,
                self.now,
                on_chart,
                self.consultant.assessor.would_change(self.assessment),
            )
        )

    def advise(
        self,
        advice: Iterable[Advice],
        judgements: Iterable[Judgement],
        *,
        judged: Mapping[str, Any],
        system_actions: tuple[SystemAction, ...] = (),
    ) -> Answered:
        """The cards about what is in hand; see Responder.advise."""
        advice = tuple(advice)
        proposes = any(change.order for each in advice for change in each.changes)
        answered = self.consultant.responder.advise(
            self.assessment,
            advice,
            self.request,
            self.now,
            self.consultant.orders.read(chart_of(self.request)) if proposes else NOTHING_ORDERED,
            judged=judged,
            judgements=judgements,
            system_actions=system_actions,
        )
        return self._unless_deceased(answered)

    def _unless_deceased(self, answered: Answered) -> Answered:
        return self.consultant.responder.of_deceased(answered) if self.case.patient.deceased else answered


class Consultant:
    """Reads and assesses by one guideline; made once.

    `clock` gives the time of a call, in UTC; `site_codes` are a site's own codes of imaging orders; `ids` makes the ids
    of cards.
    """

    def __init__(
        self,
        guideline: Guideline,
        clock: Callable[[], datetime],
        site_codes: SiteCodes = NO_SITE_CODES,
        never_sends: Callable[[str | None], Collection[str]] = lambda _client: (),
        ids: CardIds | None = None,
    ) -> None:
        self.guideline = guideline
        self.assessor, self.responder = Assessor(guideline), Responder(guideline, ids)
        self._reader, self.clock, self.never_sends = CaseReader(guideline), clock, never_sends
        self.index = self._reader.index
        self.orders = OrderReader(guideline, self.index, site_codes)

    def say_nothing(self, request: HookRequest, judged: Mapping[str, Any]) -> Answered:
        """The answer to a request that has nothing to do with this service: no chart is needed, and none is read."""
        data = {key: value.state.value for key, value in request.prefetch.items()}
        assessment = Assessment("unknown", NO_SIDE_NAMED, data, LeftOut())
        return self.responder.advise(assessment, (), request, self.clock(), judged=judged)

    def consult(self, request: HookRequest, *, whole_chart: bool = True) -> Consultation:
        """Without the whole chart, one that says nothing of this complaint is read no further than to tell so.

        Raises PreconditionFailed as CaseReader.read does; and where nothing tells of this pain and not all came that
        may, for who has no other way to say that it cannot be told. With the `whole_chart`, only where nothing came.
        """
        now = self.clock()
        case = self._reader.read(chart_of(request), now, None if whole_chart else self.assessor.sought)
        consultation = Consultation(self, request, now, case, self.assessor.assess(case))
        if not whole_chart or is_nothing(case.data, case.kinds):
            consultation.require_chart()
        return consultation


def chart_of(request: HookRequest) -> ReceivedChart:
    """What a call brings of the chart of the patient in context."""
    return ReceivedChart(request.patient_id, request.prefetch, request.encounter_id)


def in_context(request: HookRequest, member: str) -> InHand:
    """The resources in a member of the context; at other hooks than order-select all of them count as selected."""
    # At other hooks whatever stands under the name of the selections is anything at all.
    selections = request.context["selections"] if request.hook == "order-select" else None
    return in_hand(request.context.get(member), chart_of(request), selections)


def _limits(word: str, fired: Fired) -> tuple[str, str, str]:
    """The names under which the limit of what has fired may stand, the closest first."""
    recommendation = fired.recommendation
    flag = recommendation.red_flag.id if recommendation.red_flag else recommendation.id
    of_all = f"{word}-{fired.indicator}"
    return f"{of_all}-{recommendation.id}", f"{of_all}-{flag}", of_all
