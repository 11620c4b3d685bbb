"""What every CDS service does first: read the chart of the patient in context, and assess it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from datetime import datetime
from typing import Any

import msgspec

from cds_hooks import Action, HookRequest, SystemAction
from service.answers.answered import Answered
from service.answers.cards import Advice, Responder, numbered
from service.answers.muting import said, without_muted
from service.chart.case import Case, CaseReader, LeftOut
from service.chart.completeness import all_left_out, blocking, chart_missing, is_nothing
from service.chart.draft_orders import HookContext, hook_context
from service.chart.orders import NO_SITE_CODES, NOTHING_ORDERED, OnChart, OrderReader, SiteCodes
from service.chart.patient import ReceivedChart
from service.knowledge_model.model import Knowledge
from service.knowledge_model.vocabulary import CHART_KINDS
from service.pseudonyms import CardIds
from service.reasoning.assessment import Assessment, Assessor, Judgement
from service.reasoning.decision import Fact
from service.reasoning.differential import NO_SIDE_NAMED
from service.reasoning.evidence import Fired
from service.reasoning.order_matching import Call
from service.reasoning.questions import WouldChange
from service.reasoning.visit_limits import Limit, limit_of
from service.release.muting import NOTHING, Muted
from service.release.states import Standings, StandingsAt, unsigned
from service.settings import AS_IT_IS, Style


class Evaluation(msgspec.Struct, frozen=True):
    """One call: the request, its time, the chart that came with it, and what the knowledge makes of that."""

    evaluator: Evaluator
    request: HookRequest
    now: datetime
    case: Case
    assessment: Assessment
    # What is ordered and done; read where anything of this pain is on the chart, and orders may be suggested.
    on_chart: OnChart
    # What is not said in this call, and how the knowledge stood when it came.
    muted: Muted
    standings: Standings

    def judge(self, kind: str, facts: Mapping[str, Fact]) -> Judgement:
        """See Assessor.judge."""
        return self.evaluator.assessor.judge(self.assessment, kind, facts)

    def indication(self) -> tuple[Mapping[str, Any], ...]:
        """Why something is ordered; see Indications."""
        return self.evaluator.responder.indications.of(self.assessment)

    def order(self, call: Call, side: str, behind: Fired) -> Action:
        """What makes an order that is called for; see Responder.order."""
        responder = self.evaluator.responder
        return responder.order(self.assessment, self.request, self.now, call=call, side=side, behind=behind)

    def limit(self) -> Limit | None:
        """What allows the fewest days until a visit."""
        return limit_of(self.evaluator.knowledge, self.assessment)

    def screened(self, treatments: Collection[str], *, by_side: bool = False) -> Evaluation:
        """The same call with what on the chart speaks against these treatments alone; see Assessor.screen."""
        beside = self.assessment.of_complaint
        screened = self.evaluator.assessor.screen(self.case, treatments, by_side=by_side, beside=beside)
        return msgspec.structs.replace(self, assessment=screened)

    def require_chart(self) -> None:
        """Raises PreconditionFailed where nothing tells of this pain, and not all arrived that may."""
        if self.assessment.complaint == "present":
            return
        case = self.case
        if keys := blocking(case.lacking, case.data, self.evaluator.never_sends(self.request.client)):
            raise chart_missing(self.request.prefetch, keys)
        if case.is_left_out():
            raise all_left_out(case.left_out.other_patient, case.left_out.future, case.left_out.unreadable)

    def respond(self) -> Answered:
        """The cards about the chart."""
        on_chart = self.on_chart if self.assessment.fired else NOTHING_ORDERED
        return self._unless_deceased(
            self.evaluator.responder.respond(
                self.assessment,
                self.request,
                self.now,
                on_chart,
                would_change=self.card_changes,
                standings=self.standings,
                muted=self.muted,
            )
        )

    def advise(
        self,
        advice: Iterable[Advice],
        judgements: Iterable[Judgement],
        *,
        judged: Mapping[str, Any],
        would_change: Sequence[WouldChange],
        system_actions: tuple[SystemAction, ...] = (),
    ) -> Answered:
        """The cards about the hook context; see Responder.advise."""
        advice = tuple(advice)
        proposes = any(change.order for each in advice for change in each.changes)
        answered = self.evaluator.responder.advise(
            self.assessment,
            advice,
            self.request,
            self.now,
            self.on_chart if proposes else NOTHING_ORDERED,
            judged=judged,
            judgements=judgements,
            would_change=would_change,
            system_actions=system_actions,
            standings=self.standings,
            muted=self.muted,
        )
        return self._unless_deceased(answered)

    def said(self, fired: Iterable[Fired]) -> tuple[Fired, ...]:
        """Those of these that are not muted."""
        return said(fired, self.muted)

    def spoken(self) -> Assessment:
        """What of the assessment is said."""
        return without_muted(self.assessment, self.muted, self.evaluator.responder.reads)

    def card_changes(self, topics: Collection[str] | None = None) -> tuple[WouldChange, ...]:
        """What a single answer would do to each card about the chart, or to those of these topics, on which nothing is
        muted.
        """
        unsaid = self.muted.ids
        if unsaid:
            spoken = {each.recommendation.id for each in self.spoken().fired}
            unsaid |= {each.recommendation.id for each in self.assessment.fired} - spoken
        return self.evaluator.assessor.would_change(self.assessment, unsaid, topics)

    def would_change(self, kind: str, cards: Iterable[tuple[str, Sequence[int]]]) -> tuple[WouldChange, ...]:
        """What a single answer to what is asked would do to each card about the hook context; the cards as
        Questions.would_change_beside takes them.
        """
        topic = self.evaluator.responder.topics[kind]
        changes = self.evaluator.assessor.would_change_beside(self.assessment, topic, [*cards])
        names = numbered(change.about for change in changes)
        return tuple(change._replace(about=name) for change, name in zip(changes, names, strict=True))

    def _unless_deceased(self, answered: Answered) -> Answered:
        return self.evaluator.responder.of_deceased(answered) if self.case.patient.deceased else answered


class Evaluator:
    """Reads and assesses by one body of knowledge; made once.

    `clock` gives the time of a call, in UTC; `site_codes` are a site's own codes of imaging orders; `ids` makes the ids
    of cards; `style_of` says by the client's name how it likes its answers, and `is_silent` whether they say nothing;
    `muted` is what is not said at a time; `standings_at` says what of the knowledge is in force, without which all of
    it is an unsigned draft; `address_of`, `app_at` and `problems_at`: see Responder.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        clock: Callable[[], datetime],
        site_codes: SiteCodes = NO_SITE_CODES,
        never_sends: Callable[[str | None], Collection[str]] = lambda _client: (),
        ids: CardIds | None = None,
        *,
        style_of: Callable[[str | None], Style] = lambda _client: AS_IT_IS,
        address_of: Callable[[str], str] | None = None,
        app_at: Callable[[HookRequest], str] = lambda _call: "",
        problems_at: str = "",
        is_silent: Callable[[str | None], bool] = lambda _client: False,
        muted: Callable[[datetime], Muted] = lambda _now: NOTHING,
        standings_at: StandingsAt | None = None,
    ) -> None:
        self.knowledge, self.style_of, self.is_silent, self.muted = knowledge, style_of, is_silent, muted
        drafts = unsigned(knowledge)
        self.standings_of: StandingsAt = standings_at or (lambda _now, _suspended: drafts)
        self.assessor = Assessor(knowledge)
        self.responder = Responder(knowledge, ids, style_of, address_of, app_at, problems_at=problems_at)
        self._reader, self.clock, self.never_sends = CaseReader(knowledge), clock, never_sends
        self.index = self._reader.index
        self.orders = OrderReader(knowledge, self.index, site_codes)

    def standing_still(self, now: datetime) -> Evaluator:
        """The same reader and assessor for a time that does not pass, with nothing muted and nothing signed."""
        still = copy(self)
        drafts = unsigned(self.knowledge)
        still.clock, still.muted, still.is_silent = lambda: now, lambda _now: NOTHING, lambda _client: False
        still.standings_of = lambda _now, _suspended: drafts
        return still

    def standings_at(self, now: datetime, muted: Muted) -> Standings:
        """What of the knowledge is in force at a time at which this is muted."""
        return self.standings_of(now, frozenset(muted.suspended))

    def standings_now(self) -> Standings:
        """What of the knowledge is in force."""
        now = self.clock()
        return self.standings_at(now, self.muted(now))

    def names_suspended(self, muted: Muted, now: datetime) -> Iterator[str]:
        """A line that names what is suspended of what is said about charts; none where nothing is."""
        about_charts = (each.id for each in self.knowledge.recommendations if each.kind in CHART_KINDS)
        return self.responder.names_suspended([id_ for id_ in about_charts if id_ in muted.suspended], muted, now)

    def say_nothing(self, request: HookRequest, judged: Mapping[str, Any]) -> Answered:
        """The answer to a request that has nothing to do with this service: no chart is needed, and none is read."""
        data = {key: value.state.value for key, value in request.prefetch.items()}
        assessment = Assessment("unknown", NO_SIDE_NAMED, data, LeftOut())
        now = self.clock()
        muted = self.muted(now)
        standings = self.standings_at(now, muted)
        return self.responder.advise(assessment, (), request, now, judged=judged, standings=standings, muted=muted)

    def evaluate(self, request: HookRequest, *, whole_chart: bool = True, orders: bool = True) -> Evaluation:
        """Without the whole chart, one that says nothing of this complaint is read no further than to tell so; without
        `orders`, nothing of what is ordered and done.

        Raises PreconditionFailed as CaseReader.read does; and where nothing tells of this pain and not all came that
        may, for who has no other way to say that it cannot be told. With the `whole_chart`, only where nothing came.
        """
        now, chart = self.clock(), chart_of(request)
        # One call sees one set, and its clock.
        muted = self.muted(now)
        case = self._reader.read(chart, now, None if whole_chart else self.assessor.sought)
        on_chart = self._on_chart(chart, case) if orders else NOTHING_ORDERED
        required = not whole_chart or is_nothing(case.data, case.kinds)
        standings = self.standings_at(now, muted)
        evaluation = Evaluation(self, request, now, case, self.assessor.assess(case), on_chart, muted, standings)
        if required:
            evaluation.require_chart()
        return evaluation

    def read(self, request: HookRequest) -> Case:
        """The whole chart of a call, read and not assessed. Raises PreconditionFailed as CaseReader.read does."""
        return self._reader.read(chart_of(request), self.clock())

    def behind(self, request: HookRequest, answered: Answered) -> Evaluation:
        """The evaluation that an answer to this request stands on. Raises ValueError where it needed no chart."""
        assessment, muted = answered.assessment, answered.muted
        if (case := assessment.case) is None:
            raise ValueError("no chart was read")
        on_chart, standings = self._on_chart(chart_of(request), case), self.standings_at(case.now, muted)
        return Evaluation(self, request, case.now, case, assessment, on_chart, muted, standings)

    def _on_chart(self, chart: ReceivedChart, case: Case) -> OnChart:
        return NOTHING_ORDERED if self.assessor.sought.isdisjoint(case.assertions) else self.orders.read(chart)


def chart_of(request: HookRequest) -> ReceivedChart:
    """What a call brings of the chart of the patient in context."""
    return ReceivedChart(request.patient_id, request.prefetch, request.encounter_id)


def in_context(request: HookRequest, member: str) -> HookContext:
    """The resources in a member of the context; at other hooks than order-select all of them count as selected."""
    # At other hooks whatever stands under the name of the selections is anything at all.
    selections = request.context["selections"] if request.hook == "order-select" else None
    return hook_context(request.context.get(member), chart_of(request), selections)
