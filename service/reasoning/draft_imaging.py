"""Draft imaging orders beside an assessment -> how appropriate each is, what is so of it, and what would be ordered
instead or besides. Pure.

Each selected draft is rated by the presentations of ratings.toml that are true of the chart, the best of them counting,
and against what the knowledge itself calls for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, reduce
from operator import xor

import msgspec

from service.chart.case import Case
from service.chart.draft_orders import ContextResource
from service.chart.elements import LEFT, RIGHT
from service.chart.fhir_time import days_before
from service.chart.orders import OnChart, Order
from service.knowledge_model.conditions import Interval, Value
from service.knowledge_model.model import Imaging, Recommendation
from service.knowledge_model.vocabulary import INDICATORS, RATINGS
from service.prefetch_keys import ON_CHART
from service.reasoning.assessment import Assessment, Assessor, ImagingCall, Judgement, read_by_presentations
from service.reasoning.decision import Decision
from service.reasoning.evidence import Fired
from service.reasoning.kernel import Compiled
from service.reasoning.order_matching import Applicable, Call, OrderMatching
from service.reasoning.visit_limits import URGENT, days_allowed, limit_key

KIND = "imaging-order"
# What the card is about that no draft is.
WORK_UP = "red-flags"
APPROPRIATE, _MAY_BE, USUALLY_NOT = RATINGS
CANNOT_TELL = "cannot-tell"
RADIOGRAPH, MRI, CT = "radiograph", "mri", "ct"
_IONISING = frozenset({RADIOGRAPH, CT})
_CRITICAL, _WARNING = INDICATORS[:2]


class DraftOrder(msgspec.Struct, frozen=True):
    """A draft ServiceRequest with what it is an order of."""

    draft: ContextResource
    order: Order

    @property
    def recognised(self) -> bool:
        """Whether it is known what it is an order of."""
        return bool(self.order.modality or self.order.referral)


class RatedOrder(msgspec.Struct, frozen=True):
    """The rating of a draft.

    because: a word for the reason; side: the one that it ought to have; by: the rating that counts, with its
    presentation; published: the best of the published criteria that are true, which need not be the one that counts;
    radiograph_first: what comes before it; placed, done: the same imaging, ordered already or done not long ago.
    """

    drafted: DraftOrder
    rating: str
    because: str
    side: str = ""
    by: Applicable | None = None
    published: Applicable | None = None
    radiograph_first: ImagingCall | None = None
    other_side: bool = False
    placed: Order | None = None
    done: Order | None = None

    @property
    def order(self) -> Order:
        """What the draft is an order of."""
        return self.drafted.order


class Proposal(msgspec.Struct, frozen=True):
    """An order that is suggested for a side, and the recommendation that it stands on."""

    call: Call
    side: str
    behind: Fired


class JudgedOrder(msgspec.Struct, frozen=True):
    """What is to be said of a draft.

    fired: what fires for it; first: the radiograph to order before it; instead: what to put in its place; elsewhere:
    what comes first and is suggested on another card; can_go, removable: whether it may be replaced, and whether it may
    be taken away with nothing in its place.
    """

    rated: RatedOrder
    fired: tuple[Fired, ...]
    first: Proposal | None
    instead: Proposal | None
    elsewhere: tuple[Call, ...]
    can_go: bool
    removable: bool


class WorkUp(msgspec.Struct, frozen=True):
    """What red flags call for beside the drafts; `elsewhere` are the calls that stand on the card of a draft."""

    fired: tuple[Fired, ...]
    proposals: tuple[Proposal, ...]
    elsewhere: tuple[Call, ...] = ()


class JudgedDrafts(msgspec.Struct, frozen=True):
    """What comes of the drafts of a call: their ratings, and what is to be said of them and besides."""

    rated: tuple[RatedOrder, ...]
    orders: tuple[JudgedOrder, ...] = ()
    work_ups: tuple[WorkUp, ...] = ()
    judgements: tuple[Judgement, ...] = ()


class DraftImaging:
    """Judges drafts by one body of knowledge; made once."""

    def __init__(self, assessor: Assessor) -> None:
        self._assessor = assessor
        roles = assessor.knowledge.engine.imaging
        self._regions = roles.regions_of_complaint | roles.other_regions
        self._by_all, self._waiting = frozenset(self._read_by_all()), frozenset(self._read_by_waiting())
        # Of what calls for something or is urgent, where it fires, and the places of its calls and of its evidence.
        self._evidence = [
            (
                compiled.fires,
                [(compiled.critical,), *zip(compiled.imaging), *zip(compiled.referrals), *_of_nodes(compiled)],
            )
            for recommendation, compiled in assessor.of_chart()
            if compiled.imaging or compiled.referrals or compiled.critical_when or recommendation.indicator in URGENT
        ]
        self._began = frozenset(assessor.read_of(name for names in roles.asked_for_by for name in names))

    def read(self, decision: Decision, on_chart: OnChart) -> Iterator[int]:
        """The charts on which each of what is read here is so; see Assessor.alike."""
        yield from read_by_presentations(self._assessor.knowledge, decision)
        yield from decision.read(self._by_all)
        case = decision.charts.case
        shown = any(shown.finding in case.assertions for shown in self._assessor.knowledge.engine.imaging.shown_by)
        asked = any(each.value is None for found in case.assertions.values() for each in found)
        # Only then it matters for which side something is called for or whether it is news, by the evidence; and for
        # what a red flag waits.
        news_or_sides = shown or on_chart.done or decision.charts.layout.charts > 1
        if asked or news_or_sides:
            told = decision.told({})
            if news_or_sides:
                firing = (places for fires, places in self._evidence if decision.values[fires])
                yield from told.read(place for places in (*firing, self._began) for place in places)
            if asked:
                yield from told.read(self._waiting)

    def _read_by_all(self) -> Iterator[tuple[int, ...]]:
        """The places in the kernel of what is called for and of red flags, those together that are alike."""
        assessor, roles = self._assessor, self._assessor.knowledge.engine.imaging
        alike: dict[object, list[int]] = {}
        for recommendation, compiled in assessor.of_chart():
            calls = (*recommendation.imaging, *recommendation.referrals)
            if recommendation.red_flag:
                for indicator, place in ((_CRITICAL, compiled.critical), (recommendation.indicator, compiled.fires)):
                    limit = limit_key(assessor.knowledge, recommendation, indicator)
                    alike.setdefault((indicator, limit, calls), []).append(place)
            for call, place in zip(calls, (*compiled.imaging, *compiled.referrals), strict=True):
                alike.setdefault(call, []).append(place)
        yield from map(tuple, alike.values())
        yield from assessor.read_by(assessor.by_kind[KIND])
        yield from assessor.read_of((roles.child, roles.recent_injury))

    def _read_by_waiting(self) -> Iterator[tuple[int, ...]]:
        """The places in the kernel of what red flags read, and presentations."""
        assessor = self._assessor
        for recommendation, compiled in assessor.of_chart():
            if recommendation.red_flag:
                yield from _of_nodes(compiled)
        conditions = [
            when
            for presentation in assessor.knowledge.presentations
            for when in (presentation.when, *(rating.when for rating in presentation.ratings))
            if when
        ]
        yield from assessor.read_of(leaf.finding for condition in conditions for leaf in condition.leaves())

    def tiers(
        self, assessment: Assessment, drafts: Sequence[DraftOrder], on_chart: OnChart, judged: JudgedDrafts
    ) -> list[tuple[str, list[int]]]:
        """What there is a card about on this chart, for which the drafts are `judged`, or on one with an answer more;
        and the variants in which that has each indicator, the most urgent one first.
        """
        if assessment.decision is None or not (judged.orders or judged.work_ups):
            return []
        others = [
            (variants, self.judge(other.case, other, drafts, on_chart))
            for variants, other in self._assessor.alike(assessment, lambda decision: self.read(decision, on_chart))
            if other.case
        ]
        as_documented = reduce(xor, (variants for variants, _other in others), assessment.decision.charts.layout.first)
        found: dict[tuple[int, str], list[int]] = {}
        for variants, of in ((as_documented, judged), *others):
            cards = [((drafts.index(one.rated.drafted), one.rated.order.reference), one.fired) for one in of.orders]
            cards += [((len(drafts), WORK_UP), work_up.fired) for work_up in of.work_ups]
            for about, fired in cards:
                tiers = found.setdefault(about, [0] * len(INDICATORS))
                tiers[INDICATORS.index(fired[0].indicator)] |= variants
        return [(about, tiers) for (_place, about), tiers in found.items()]

    def judge(
        self, case: Case, assessment: Assessment, drafts: Sequence[DraftOrder], on_chart: OnChart
    ) -> JudgedDrafts:
        """What comes of the selected drafts; the others count as ordered."""
        rated = [one for one in drafts if one.draft.selected and self._is_rated(one.order)]
        return _Judging(self._assessor, case, assessment, drafts, on_chart).judge(rated)

    def _is_rated(self, order: Order) -> bool:
        """Imaging of the regions of this complaint, or imaging of which nothing tells that it is of another."""
        return bool(order.modality) and (order.region in self._regions or not (order.region or order.elsewhere))


class _Judging:
    """The judgement of the drafts of one call."""

    def __init__(
        self,
        assessor: Assessor,
        case: Case,
        assessment: Assessment,
        drafts: Sequence[DraftOrder],
        on_chart: OnChart,
    ) -> None:
        self.assessor, self.case, self.assessment = assessor, case, assessment
        self.drafts, self.on_chart, self.now = drafts, on_chart, case.now
        self.knowledge, self.roles = assessor.knowledge, assessor.knowledge.engine.imaging
        self.matching = OrderMatching(self.knowledge, assessment, on_chart, case.now)
        self.imaging = self.matching.imaging
        self.judgements: list[Judgement] = []
        self.by_id = {fired.recommendation.id: fired for fired in assessment.fired}

    @cached_property
    def judged_beside(self) -> Assessment:
        # Of a chart of which too little came nothing fires, and that is what is said.
        found = self.assessment.complaint == "present"
        return self.assessment if found else self.assessor.screen(self.case, frozenset())

    @cached_property
    def child(self) -> bool:
        return bool(self.roles.child) and self.assessment.is_true(self.roles.child)

    @cached_property
    def guarded(self) -> bool:
        """Beside a red flag, raised or unanswered, or a recent injury, and of a child, nothing is only taken away."""
        recent = bool(self.roles.recent_injury) and self.assessment.is_true(self.roles.recent_injury)
        return self.child or recent or any(self.assessment.red_flags()) or bool(self.unanswered)

    @cached_property
    def unanswered(self) -> tuple[Recommendation, ...]:
        """The red flags of which nobody can tell."""
        return self.assessor.unanswered_flags(self.assessment)

    def judge(self, drafts: Iterable[DraftOrder]) -> JudgedDrafts:
        """What comes of these drafts, and what a red flag calls for beside them."""
        rated = tuple([self._rated(one) for one in drafts])
        if self.assessment.complaint == "absent":
            return JudgedDrafts(rated)
        advised = [(one, fired) for one in rated if (fired := self._fired(one))]
        critical = self._flags(_CRITICAL)
        missing = self._missing(_ids(critical))
        # Whoever takes all that is suggested has each order once: an order stands on the card of the draft in whose
        # place it is put, otherwise on the most urgent one.
        proposed: list[Order] = []
        instead = []
        for one, fired in advised:
            proposal = self._instead(one, fired[0], proposed)
            instead.append(proposal)
            proposed += self._as_orders([proposal])
        added = self._proposals(self._left(missing, proposed, _ids(critical)), _ids(critical))
        proposed += self._as_orders(added)
        orders = []
        for (one, fired), proposal in zip(advised, instead, strict=True):
            orders.append(self._judged(one, fired, proposal, proposed))
            proposed += self._as_orders([orders[-1].first])
        work_ups = [*self._work_up(missing, added, critical), *self._due_besides(rated, proposed)]
        return JudgedDrafts(rated, tuple(orders), tuple(work_ups), tuple(self.judgements))

    # -- rating -------------------------------------------------------------------------------------------------------

    def _rated(self, one: DraftOrder) -> RatedOrder:
        """The rating of a draft, with its reason."""
        complaint, order = self.assessment.complaint, one.order
        if complaint != "present":
            return RatedOrder(one, CANNOT_TELL, "no-complaint" if complaint == "absent" else "chart-not-heard")
        if not order.region:
            return RatedOrder(one, CANNOT_TELL, "region-not-known")
        beside = list(self._beside(one))
        rating, because, mine, first = self._rating(order, beside)
        if rating == USUALLY_NOT and not first:
            if self.child:
                # The criteria are those of adults.
                rating, because, mine = CANNOT_TELL, "child", ()
            elif self._may_be_called_for(order, beside):
                rating, because, mine = CANNOT_TELL, "red-flag-unanswered", ()
        meant = self.matching.side_for(order, beside)
        # An order without a side is for the side of the pain.
        side = order.side or self.matching.compared(order.key, meant)
        done = self._done(order, side)
        return RatedOrder(
            one,
            rating,
            because,
            meant,
            _best(mine),
            _best(by for by in mine if by[0].publisher),
            # Nothing comes before what has been done.
            None if done else first,
            other_side={order.side, meant} == {LEFT, RIGHT} and not order.sides_differ,
            placed=self._placed(one, side),
            done=done,
        )

    def _rating(
        self, order: Order, beside: Sequence[Order]
    ) -> tuple[str, str, Sequence[Applicable], ImagingCall | None]:
        """The rating, a word for its reason, the presentations that rate it, and the radiograph that comes first."""
        has_radiograph = self.matching.has_radiograph(beside, order.side) or order.modality == RADIOGRAPH
        first = None if has_radiograph else self._radiograph_before(order)
        applicable = self.matching.applicable(beside, order.side, of_late=order.modality == RADIOGRAPH)
        mine = _about(order, applicable)
        best = _best(mine)
        if _is_called_for(order, self.imaging) and not (first and best and best[1].rating == USUALLY_NOT):
            return APPROPRIATE, "called-for", mine, first
        if best:
            return best[1].rating, "rated", mine, first
        regions = {region for by in applicable for region in by[1].regions} | {call.region for call in self.imaging}
        if regions and order.region not in regions:
            return USUALLY_NOT, "another-region", (), None
        return CANNOT_TELL, "not-rated" if regions else "not-enough-documented", (), first

    def _may_be_called_for(self, order: Order, beside: Sequence[Order]) -> bool:
        """Whether a red flag that is unanswered would call for this imaging, or make it more than usually not
        appropriate.
        """
        of_late = order.modality == RADIOGRAPH
        for recommendation in self.unanswered:
            if _is_called_for(order, recommendation.imaging):
                return True
            flag = recommendation.red_flag.id if recommendation.red_flag else ""
            best = _best(_about(order, self.matching.applicable(beside, order.side, of_late=of_late, supposed=flag)))
            if best and best[1].rating != USUALLY_NOT:
                return True
        return False

    def _radiograph_before(self, order: Order) -> ImagingCall | None:
        """The radiograph that the knowledge calls for before other imaging of where the pain is, or of the same
        region, on that side.
        """
        for call in self.imaging:
            near = call.region == order.region or {call.region, order.region} <= self.roles.regions_of_complaint
            if call.modality == RADIOGRAPH and near and {order.side, self.matching.side_of(call)} != {LEFT, RIGHT}:
                return call
        return None

    def _beside(self, one: DraftOrder | None) -> Iterator[Order]:
        """What else is drafted, ordered or was done lately; a draft that is not selected counts as ordered."""
        yield from (other.order for other in self.drafts if other is not one)
        named = {other.order.reference for other in self.drafts}
        yield from (order for order in self.on_chart.placed if order.reference not in named and order.state == "active")
        yield from self.matching.done

    def _done(self, order: Order, side: str) -> Order | None:
        """The same imaging as it was done not long ago, by a study or by a result that the chart has as a finding."""
        shown = [
            Order(stated.resource, "done", order.modality, order.region, side=stated.side, when=stated.when)
            for shown in self.roles.shown_by
            if order.modality in shown.modalities and order.region in shown.regions
            for stated in self.case.assertions.get(shown.finding, ())
            if stated.value is True and stated.when
        ]
        for found in (self.on_chart, OnChart(done=tuple(shown))):
            if done := found.recently_done(order.key, side, self.now, self.matching.recent_days):
                return None if self.matching.changed_since(done) else done
        return None

    def _placed(self, one: DraftOrder, side: str) -> Order | None:
        """Another order of the same imaging: one that stands, or a draft that was decided on before or comes before."""
        placed = [o for o in self.on_chart.placed if o.state == "active" and o.reference != one.order.reference]
        place = next(number for number, other in enumerate(self.drafts) if other is one)
        placed += [other.order for other in self.drafts[:place]]
        placed += [other.order for other in self.drafts[place + 1 :] if not other.draft.selected]
        return next((order for order in placed if order.covers(one.order.key, side)), None)

    # -- what fires for a draft, and besides ---------------------------------------------------------------------------

    def _fired(self, one: RatedOrder) -> tuple[Fired, ...]:
        """What is said of a draft; where nothing is, that what is ordered and done could not be looked at."""
        facts = self._facts(one)
        fired = self._judge(facts)
        if not fired and self.case.lacks(ON_CHART):
            fired = self._judge({**facts, "chart-not-heard": True})
        return fired

    def _judge(self, facts: Mapping[str, Value]) -> tuple[Fired, ...]:
        judgement = self.assessor.judge(self.judged_beside, KIND, facts)
        self.judgements.append(judgement)
        return judgement.fired

    def _facts(self, one: RatedOrder) -> dict[str, Value]:
        order = one.order
        return {
            **self._facts_besides(),
            "order-rating": one.rating,
            "days-since-the-same-imaging": self._days_since(one.done),
            "order-repeats-another-order": one.placed is not None,
            "order-is-for-the-other-side": one.other_side,
            "order-names-two-sides": order.sides_differ,
            "order-is-of-another-region": one.because == "another-region",
            "order-names-no-region": not order.region,
            "radiograph-comes-first": one.radiograph_first is not None,
            "order-is-an-mri": order.modality == MRI,
            "order-is-ionising": order.modality in _IONISING,
            "gadolinium-asked-for": order.modality == MRI and order.contrast,
        }

    def _facts_besides(self, missing: str = "") -> dict[str, Value]:
        """The facts of no draft; `missing`: the indicator of the red flags whose orders are."""
        return {
            "order-rating": None,
            "days-since-the-same-imaging": None,
            "order-repeats-another-order": False,
            "order-is-for-the-other-side": False,
            "order-names-two-sides": False,
            "order-is-of-another-region": False,
            "order-names-no-region": False,
            "radiograph-comes-first": False,
            "red-flag-work-up-missing": missing == _CRITICAL,
            "urgent-imaging-missing": missing == _WARNING,
            "order-not-recognised": bool(missing) and not all(one.recognised for one in self.drafts),
            "order-is-an-mri": False,
            "order-is-ionising": False,
            "gadolinium-asked-for": False,
            "chart-not-heard": self.assessment.complaint == "unknown",
        }

    def _days_since(self, done: Order | None) -> Interval | None:
        if done is None or done.when is None:
            return None
        least, most = days_before(done.when, self.now)
        return Interval(float(least), float(most))

    def _judged(
        self, one: RatedOrder, fired: tuple[Fired, ...], instead: Proposal | None, proposed: Sequence[Order]
    ) -> JudgedOrder:
        first = one.radiograph_first
        new = self._proposals([first]) if first and not self.matching.satisfying(first, proposed) else ()
        can_go, wrong = self._can_go(one), one.placed or one.done or one.other_side or one.rating == USUALLY_NOT
        return JudgedOrder(
            one,
            fired,
            first=new[0] if new else None,
            instead=instead,
            elsewhere=(first,) if first and not new else (),
            can_go=can_go,
            removable=can_go and bool(wrong) and not self.guarded,
        )

    def _can_go(self, one: RatedOrder) -> bool:
        """Whether the draft may be taken away: not where it only waits for the radiograph."""
        return one.rating != CANNOT_TELL and not one.radiograph_first and one.drafted.draft.can_be_named

    def _instead(self, one: RatedOrder, fired: Fired, proposed: Sequence[Order]) -> Proposal | None:
        """What to put in place of this order; None where there is none to propose, or where it is already."""
        order = one.order
        if not self._can_go(one) or one.placed or one.done:
            return None
        beside = [*self._beside(one.drafted), *proposed]
        wrong_side = one.other_side or (order.sides_differ and one.side in (LEFT, RIGHT))
        if wrong_side and order.key in self.knowledge.orders and one.rating != USUALLY_NOT:
            side = self.matching.compared(order.key, one.side)
            if any(other.covers(order.key, side) for other in beside):
                return None
            call = ImagingCall(order.modality, order.region, _priority(one), "", fired.recommendation.id)
            return Proposal(call, one.side, fired)
        if one.rating == APPROPRIATE:
            return None
        called = next((call for call in self.imaging if not self.matching.satisfying(call, beside)), None)
        return self._proposals([called])[0] if called else None

    def _missing(self, critical: frozenset[str]) -> list[Call]:
        """The orders that a critical red flag calls for and that nobody has drafted or placed."""
        calls: list[Call] = [*self.imaging, *self.assessment.referrals]
        called = [call for call in calls if critical & self.matching.called_by(call)] if critical else []
        return self._left(called, list(self._beside(None)), critical) if called else []

    def _left(self, calls: Iterable[Call], orders: Sequence[Order], among: frozenset[str]) -> list[Call]:
        """Those of these calls that none of these orders satisfies."""
        return [call for call in calls if not self.matching.satisfying(call, orders, among=among)]

    def _work_up(
        self, missing: Sequence[Call], added: tuple[Proposal, ...], critical: Sequence[Fired]
    ) -> Iterator[WorkUp]:
        """What critical red flags call for and nobody has drafted or placed."""
        if missing and (fired := self._judge(self._facts_besides(_CRITICAL))):
            suggested = [proposal.call for proposal in added]
            elsewhere = tuple(call for call in missing if call not in suggested)
            yield WorkUp((*fired, *critical), added, elsewhere)

    def _due_besides(self, rated: Sequence[RatedOrder], proposed: Sequence[Order]) -> Iterator[WorkUp]:
        """The imaging that a red flag short of critical calls for and that is not beside an imaging order of this
        pain. What comes after the radiograph that the same flag calls for is not due before that is done, unless the
        flag is due the same day.
        """
        warnings = self._flags(_WARNING)
        if not rated or not warnings or self._flags(_CRITICAL):
            return
        ordered = list(self._beside(None))
        besides: dict[Call, None] = {}
        for fired in warnings:
            called = [call for call in self.imaging if fired.recommendation.id in self.matching.called_by(call)]
            at_once = not days_allowed(self.knowledge, self.assessment, fired) or self.matching.has_radiograph(())
            radiographs = [call for call in called if call.modality == RADIOGRAPH]
            besides |= dict.fromkeys(
                self._left(called if at_once or not radiographs else radiographs, ordered, _ids([fired]))
            )
        due = self._left(besides, proposed, _ids(warnings))
        if due and (advised := self._judge(self._facts_besides(_WARNING))):
            behind = frozenset[str]().union(*map(self.matching.called_by, due))
            flags = (flag for flag in warnings if flag.recommendation.id in behind)
            yield WorkUp((*advised, *flags), self._proposals(due, _ids(warnings)))

    def _flags(self, indicator: str) -> list[Fired]:
        return [fired for fired in self.assessment.red_flags() if fired.indicator == indicator]

    def _proposals(self, calls: Iterable[Call], among: frozenset[str] | None = None) -> tuple[Proposal, ...]:
        return tuple(
            Proposal(call, self.matching.side_of(call, among), self.by_id[call.recommendation]) for call in calls
        )

    def _as_orders(self, proposals: Iterable[Proposal | None]) -> Iterator[Order]:
        """What orders these would be; a referral is proposed by the work-up alone, and replaces nothing."""
        for proposal in proposals:
            if proposal and isinstance(call := proposal.call, ImagingCall):
                side = self.matching.compared(call.key, proposal.side)
                yield Order("", "draft", call.modality, call.region, side=side)


def _of_nodes(compiled: Compiled) -> Iterator[tuple[int, ...]]:
    """The places of the condition of a recommendation, and of all that it is made of."""
    return ((place,) for node in compiled.when.nodes() for place in (node.true, node.false))


def _ids(fired: Iterable[Fired]) -> frozenset[str]:
    return frozenset(each.recommendation.id for each in fired)


def _is_called_for(order: Order, calls: Iterable[ImagingCall | Imaging]) -> bool:
    return any(order.region == call.region and order.modality in (call.modality, call.alternative) for call in calls)


def _about(order: Order, applicable: Iterable[Applicable]) -> list[Applicable]:
    """Those of these ratings that are about this order."""
    return [by for by in applicable if by[1].modality == order.modality and order.region in by[1].regions]


def _best(applicable: Iterable[Applicable]) -> Applicable | None:
    return min(applicable, key=lambda by: RATINGS.index(by[1].rating), default=None)


def _priority(one: RatedOrder) -> str:
    priority = one.drafted.draft.resource.get("priority")
    return priority if priority in ("stat", "urgent") else "routine"
