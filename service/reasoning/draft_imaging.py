"""Draft imaging orders beside an assessment -> how appropriate each is, what is so of it, and what would be ordered
instead or besides. Pure.

Each selected draft is rated by the presentations of ratings.toml that are true of the chart, the best of them counting,
and against what the knowledge itself calls for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, reduce
from itertools import product
from operator import or_
from typing import NamedTuple

import msgspec

from service.chart.case import Case
from service.chart.draft_orders import ContextResource
from service.chart.elements import LEFT, RIGHT
from service.chart.fhir_time import days_before
from service.chart.orders import OnChart, Order
from service.knowledge_model.conditions import Interval, Value
from service.knowledge_model.model import Imaging, Recommendation, Referral
from service.knowledge_model.vocabulary import ADVICE_FACTS, INDICATORS, RATINGS
from service.prefetch_keys import ON_CHART
from service.reasoning.assessment import Assessment, Assessor, ImagingCall, Judgement
from service.reasoning.decision import Decision
from service.reasoning.evidence import Fired
from service.reasoning.order_matching import Applicable, Call, OrderMatching
from service.reasoning.visit_limits import URGENT, days_allowed, due_today, limit_key

KIND = "imaging-order"
# What the card is about that no draft is.
WORK_UP = "red-flags"
APPROPRIATE, _MAY_BE, USUALLY_NOT = RATINGS
CANNOT_TELL = "cannot-tell"
RADIOGRAPH, MRI, CT = "radiograph", "mri", "ct"
_IONISING = frozenset({RADIOGRAPH, CT})
_CRITICAL, _WARNING = INDICATORS[:2]
# The fact that the chart says nothing of this pain and not all of it came.
_NOT_HEARD = "chart-not-heard"
_NOTHING_SO: dict[str, Value] = dict.fromkeys(ADVICE_FACTS[KIND], False)


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
        of_chart = tuple(assessor.of_chart())
        # What calls for something, or is urgent.
        self._heard = [r for r, _made in of_chart if r.imaging or r.referrals or _is_urgent(r)]
        # Imaging that waits for its radiograph does not on the last day of a window.
        self._by_day = [
            r for r, _made in of_chart if _has_radiograph_first(r) and limit_key(assessor.knowledge, r, r.indicator)[1]
        ]
        self._by_all = tuple(self._read_by_all())
        self._began = frozenset(assessor.read_of(name for names in roles.asked_for_by for name in names))

    def judge(
        self, case: Case, assessment: Assessment, drafts: Sequence[DraftOrder], on_chart: OnChart
    ) -> JudgedDrafts:
        """What comes of the selected drafts; the others count as ordered."""
        return self._judging(case, assessment, drafts, on_chart).judge()

    def _judging(self, case: Case, assessment: Assessment, drafts: Sequence[DraftOrder], on_chart: OnChart) -> _Judging:
        selected = [one for one in drafts if one.draft.selected and self._is_rated(one.order)]
        return _Judging(self._assessor, case, assessment, drafts, on_chart, selected=selected)

    def _is_rated(self, order: Order) -> bool:
        """Imaging of the regions of this complaint, or imaging of which nothing tells that it is of another."""
        return bool(order.modality) and (order.region in self._regions or not (order.region or order.elsewhere))

    # -- what would change it -----------------------------------------------------------------------------------------

    def tiers(
        self, assessment: Assessment, drafts: Sequence[DraftOrder], on_chart: OnChart, judged: JudgedDrafts
    ) -> list[tuple[str, list[int]]]:
        """What there may be a card about on this chart, for which the drafts are `judged`, or on one with an answer
        more; and the variants in which that has each indicator, the most urgent one first.

        Each fact is found for the variants together that are alike in all that it is made of, and judged in one pass.
        """
        if assessment.decision is None or not (judged.orders or judged.work_ups):
            return []
        judgings = [*self._judgings(assessment, drafts, on_chart)]
        found, advised = [], []
        for place, one in enumerate(judged.rated):
            facts = [(variants, judging.facts(judging.rated[place])) for variants, judging in judgings]
            tiers = self._tiers(assessment, facts)
            found.append((one.order.reference, tiers))
            advised.append(reduce(or_, tiers))
        besides = [
            (part, judging.facts_besides(missing))
            for variants, judging in judgings
            for part, said in _apart(variants, [*zip(judging.rated, advised, strict=True)])
            if (missing := judging.work_up(said))
        ]
        return [*found, (WORK_UP, self._tiers(assessment, besides))] if besides else found

    def _judgings(
        self, assessment: Assessment, drafts: Sequence[DraftOrder], on_chart: OnChart
    ) -> Iterator[tuple[int, _Judging]]:
        """The variants, those together that are alike in all that is read, with the judgement in each of them."""
        if not (decision := assessment.decision) or not (case := assessment.case):
            return
        documented = self._judging(case, assessment, drafts, on_chart)
        shown_by, waiting = self._assessor.knowledge.engine.imaging.shown_by, self._assessor.may_wait(decision)
        imaged = bool(on_chart.done) or any(shown.finding in case.assertions for shown in shown_by)
        read = [
            *map(decision.charts.anywhere, decision.read(self._by_all)),
            *(due_today(self._assessor.knowledge, decision, each) for each in self._by_day),
            *self._read_by_ratings(decision, drafts, on_chart, ["", *(flag for _each, flag, _names in waiting)]),
        ]
        # Only then it matters for which side something is called for or whether it is news, by the evidence.
        if imaged or decision.charts.layout.charts > 1 or documented.matching.sides_unreadable:
            heard = (each for each in self._heard if imaged or each.imaging or each.referrals)
            read += (on for each in heard for on in self._assessor.carrying(decision, each))
        if imaged:
            read += decision.read(self._began)
        dates = self._assessor.questions.read_date_as.values() if imaged else ()
        # What imaging shows is imaging that was done.
        apart = {*dates, *(shown.finding for shown in shown_by)}.union(*(names for _each, _flag, names in waiting))
        rest = decision.charts.layout.first
        for variants, of in self._assessor.alike(assessment, read, self._heard, apart):
            if of.case:
                yield variants, self._judging(of.case, of, drafts, on_chart)
            rest ^= variants
        yield rest, documented

    def _tiers(self, assessment: Assessment, facts: Sequence[tuple[int, Mapping[str, Value]]]) -> list[int]:
        """The variants in which what is said of these facts, each with its variants, has each indicator."""
        found = {name: assessment.fact([(of[name], variants) for variants, of in facts]) for name in facts[0][1]}
        every = reduce(or_, (variants for variants, _of in facts))
        tiers = self._assessor.tiers(self._assessor.judge(assessment, KIND, found))
        if assessment.case and assessment.case.lacks(ON_CHART):
            silent = ~reduce(or_, tiers)
            again = self._assessor.tiers(self._assessor.judge(assessment, KIND, {**found, _NOT_HEARD: True}))
            tiers = [variants | (of & silent) for variants, of in zip(tiers, again, strict=True)]
        return [variants & every for variants in tiers]

    def _read_by_ratings(
        self, decision: Decision, drafts: Sequence[DraftOrder], on_chart: OnChart, supposed: Iterable[str]
    ) -> Iterator[int]:
        """The variants in which there are ratings, those together that say the same of the drafts; with each of these
        red flags supposed.
        """
        of, flags = self._assessor.knowledge.presentations, self._assessor.knowledge.engine.red_flags
        regions = frozenset(one.order.region for one in drafts)
        orders = (*(one.order for one in drafts), *on_chart.placed, *on_chart.done)
        modalities = {order.modality for order in orders}
        for at_hand, flag in product((False, True), supposed):
            alike: dict[object, int] = {}
            for number, place, variants in decision.ratings(flags, radiograph_at_hand=at_hand, supposed=flag):
                rating = of[number].ratings[place]
                about = rating.modality in modalities and (rating.modality, rating.rating)
                # Imaging of its other regions is as good.
                others = rating.regions if about and rating.rating == APPROPRIATE else ()
                key = (about, others, regions.intersection(rating.regions))
                alike[key] = alike.get(key, 0) | variants
            yield from alike.values()

    def _read_by_all(self) -> Iterator[tuple[int, ...]]:
        """The places in the kernel of what is called for and of red flags, those together that are alike."""
        assessor, roles = self._assessor, self._assessor.knowledge.engine.imaging
        alike: dict[object, list[int]] = {}
        for recommendation, compiled in assessor.of_chart():
            calls: tuple[Imaging | Referral, ...] = (*recommendation.imaging, *recommendation.referrals)
            flag: object = None
            if recommendation.red_flag:
                alike.setdefault(_CRITICAL, []).append(compiled.critical)
                limit = limit_key(assessor.knowledge, recommendation, recommendation.indicator)
                waits = _has_radiograph_first(recommendation) and limit
                # One that is critical on some charts alone is like no other.
                flag = (compiled.critical_when and recommendation.id, recommendation.indicator, waits, calls)
                alike.setdefault(flag, []).append(compiled.critical)
            for call, place in zip(calls, (*compiled.imaging, *compiled.referrals), strict=True):
                alike.setdefault(replace(call, when=None), []).append(place)
                if flag:
                    alike.setdefault((flag, call), []).append(place)
        yield from ((assessor.kernel.located,), *map(tuple, alike.values()))
        yield from assessor.read_of([roles.child])


class _Judging:
    """The judgement of the selected drafts of one call, of which each is rated."""

    def __init__(
        self,
        assessor: Assessor,
        case: Case,
        assessment: Assessment,
        drafts: Sequence[DraftOrder],
        on_chart: OnChart,
        *,
        selected: Sequence[DraftOrder],
    ) -> None:
        self.assessor, self.case, self.assessment = assessor, case, assessment
        self.drafts, self.on_chart, self.now = drafts, on_chart, case.now
        self.knowledge, self.roles = assessor.knowledge, assessor.knowledge.engine.imaging
        self.matching = OrderMatching(self.knowledge, assessment, on_chart, case.now)
        self.imaging = self.matching.imaging
        self.judgements: list[Judgement] = []
        self.by_id = {fired.recommendation.id: fired for fired in assessment.fired}
        self.rated = tuple([self._rated(one) for one in selected])

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

    def judge(self) -> JudgedDrafts:
        """What comes of these drafts, and what a red flag calls for beside them."""
        if self.assessment.complaint == "absent":
            return JudgedDrafts(self.rated)
        said = [(one, fired) for one in self.rated if (fired := self._fired(one))]
        proposed = self._propose([one for one, _fired in said])
        orders = [
            self._judged(one, fired, instead, first)
            for (one, fired), instead, first in zip(said, proposed.instead, proposed.first, strict=True)
        ]
        return JudgedDrafts(self.rated, tuple(orders), tuple(self._work_ups(proposed)), tuple(self.judgements))

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
        facts = self.facts(one)
        fired = self._judge(facts)
        if not fired and self.case.lacks(ON_CHART):
            fired = self._judge({**facts, _NOT_HEARD: True})
        return fired

    def _judge(self, facts: Mapping[str, Value]) -> tuple[Fired, ...]:
        judgement = self.assessor.judge(self.judged_beside, KIND, facts)
        self.judgements.append(judgement)
        return judgement.fired

    def facts(self, one: RatedOrder) -> dict[str, Value]:
        order = one.order
        return {
            **self.facts_besides(),
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

    def facts_besides(self, missing: str = "") -> dict[str, Value]:
        """The facts of no draft; `missing`: the indicator of the red flags whose orders are."""
        return {
            **_NOTHING_SO,
            "order-rating": None,
            "days-since-the-same-imaging": None,
            "red-flag-work-up-missing": missing == _CRITICAL,
            "urgent-imaging-missing": missing == _WARNING,
            "order-not-recognised": bool(missing) and not all(one.recognised for one in self.drafts),
            _NOT_HEARD: self.assessment.complaint == "unknown",
        }

    def _days_since(self, done: Order | None) -> Interval | None:
        if done is None or done.when is None:
            return None
        least, most = days_before(done.when, self.now)
        return Interval(float(least), float(most))

    def _judged(
        self,
        one: RatedOrder,
        fired: tuple[Fired, ...],
        instead: tuple[ImagingCall, str] | None,
        first: ImagingCall | None,
    ) -> JudgedOrder:
        can_go, wrong = self._can_go(one), one.placed or one.done or one.other_side or one.rating == USUALLY_NOT
        return JudgedOrder(
            one,
            fired,
            first=self._proposals([first])[0] if first else None,
            instead=Proposal(*instead, self.by_id[instead[0].recommendation] if instead[0].recommendation else fired[0])
            if instead
            else None,
            elsewhere=(one.radiograph_first,) if one.radiograph_first and not first else (),
            can_go=can_go,
            removable=can_go and bool(wrong) and not self.guarded,
        )

    def _can_go(self, one: RatedOrder) -> bool:
        """Whether the draft may be taken away: not where it only waits for the radiograph."""
        return one.rating != CANNOT_TELL and not one.radiograph_first and one.drafted.draft.can_be_named

    # -- what is suggested --------------------------------------------------------------------------------------------

    def _propose(self, said: Sequence[RatedOrder]) -> _Proposed:
        """What is suggested beside and in the place of the drafts of which something is said.

        Whoever takes all that is suggested has each order once: an order stands on the card of the draft in whose place
        it is put, otherwise on the most urgent one.
        """
        proposed = _Proposed([], [], [], [])
        for one in said:
            instead = self._instead(one, proposed.orders)
            proposed.instead.append(instead)
            proposed.orders.extend([self._as_order(*instead)] if instead else ())
        among = _ids(self.critical)
        proposed.added.extend(self._left(self.missing, proposed.orders, among))
        # A referral is suggested by the work-up alone, and replaces nothing.
        imaging = [call for call in proposed.added if isinstance(call, ImagingCall)]
        proposed.orders.extend([self._as_order(call, self.matching.side_of(call, among)) for call in imaging])
        for one in said:
            call = one.radiograph_first
            first = call if call and not self.matching.satisfying(call, proposed.orders) else None
            proposed.first.append(first)
            proposed.orders.extend([self._as_order(first, self.matching.side_of(first))] if first else ())
        return proposed

    def _instead(self, one: RatedOrder, proposed: Sequence[Order]) -> tuple[ImagingCall, str] | None:
        """What to put in place of this order, and for which side; None where there is none to propose, or where it is
        already. Where it is the same for the other side, no recommendation calls for it.
        """
        order = one.order
        if not self._can_go(one) or one.placed or one.done:
            return None
        beside = [*self._beside(one.drafted), *proposed]
        wrong_side = one.other_side or (order.sides_differ and one.side in (LEFT, RIGHT))
        if wrong_side and order.key in self.knowledge.orders and one.rating != USUALLY_NOT:
            side = self.matching.compared(order.key, one.side)
            if any(other.covers(order.key, side) for other in beside):
                return None
            return ImagingCall(order.modality, order.region, _priority(one), "", ""), one.side
        if one.rating == APPROPRIATE:
            return None
        called = next((call for call in self.imaging if not self.matching.satisfying(call, beside)), None)
        return (called, self.matching.side_of(called)) if called else None

    def _as_order(self, call: ImagingCall, side: str) -> Order:
        """What order this would be."""
        return Order("", "draft", call.modality, call.region, side=self.matching.compared(call.key, side))

    def _proposals(self, calls: Iterable[Call], among: frozenset[str] | None = None) -> tuple[Proposal, ...]:
        return tuple(
            Proposal(call, self.matching.side_of(call, among), self.by_id[call.recommendation]) for call in calls
        )

    # -- what red flags call for besides ------------------------------------------------------------------------------

    @cached_property
    def critical(self) -> list[Fired]:
        """The red flags that are critical."""
        return [fired for fired in self.assessment.red_flags() if fired.indicator == _CRITICAL]

    @cached_property
    def warnings(self) -> list[Fired]:
        """Those short of critical."""
        return [fired for fired in self.assessment.red_flags() if fired.indicator == _WARNING]

    @cached_property
    def ordered(self) -> tuple[Order, ...]:
        """What is drafted, ordered or was done lately."""
        return tuple(self._beside(None))

    @cached_property
    def missing(self) -> list[Call]:
        """The orders that a critical red flag calls for and that nobody has drafted or placed."""
        among = _ids(self.critical)
        calls: list[Call] = [*self.imaging, *self.assessment.referrals] if among else []
        return self._left([call for call in calls if among & self.matching.called_by(call)], self.ordered, among)

    @cached_property
    def besides(self) -> list[Call]:
        """The imaging that a red flag short of critical calls for and that is not beside an imaging order of this
        pain. What comes after the radiograph that the same flag calls for is not due before that is done, unless the
        flag is due the same day.
        """
        found: dict[Call, None] = {}
        for fired in self.warnings if self.rated and not self.critical else ():
            called = [call for call in self.imaging if fired.recommendation.id in self.matching.called_by(call)]
            radiographs = [call for call in called if call.modality == RADIOGRAPH]
            if radiographs and not (
                self.matching.has_radiograph(()) or not days_allowed(self.knowledge, self.assessment, fired)
            ):
                called = radiographs
            found |= dict.fromkeys(self._left(called, self.ordered, _ids([fired])))
        return [*found]

    def work_up(self, said: Sequence[RatedOrder]) -> str:
        """The indicator of the red flags whose orders are missing beside the drafts, of which something is said of
        these; empty where none is.
        """
        if self.missing:
            return _CRITICAL
        return _WARNING if self.besides and self._due(self._propose(said)) else ""

    def _due(self, proposed: _Proposed) -> list[Call]:
        return self._left(self.besides, proposed.orders, _ids(self.warnings))

    def _left(self, calls: Iterable[Call], orders: Sequence[Order], among: frozenset[str]) -> list[Call]:
        """Those of these calls that none of these orders satisfies."""
        return [call for call in calls if not self.matching.satisfying(call, orders, among=among)]

    def _work_ups(self, proposed: _Proposed) -> Iterator[WorkUp]:
        """What is missing beside the drafts, first what critical red flags call for."""
        if self.missing:
            if fired := self._judge(self.facts_besides(_CRITICAL)):
                elsewhere = tuple(call for call in self.missing if call not in proposed.added)
                added = self._proposals(proposed.added, _ids(self.critical))
                yield WorkUp((*fired, *self.critical), added, elsewhere)
        elif (due := self._due(proposed)) and (fired := self._judge(self.facts_besides(_WARNING))):
            behind = frozenset[str]().union(*map(self.matching.called_by, due))
            flags = (flag for flag in self.warnings if flag.recommendation.id in behind)
            yield WorkUp((*fired, *flags), self._proposals(due, _ids(self.warnings)))


class _Proposed(NamedTuple):
    """What is suggested in the place of each draft, with its side; what critical red flags call for besides; the
    radiograph before each draft, where it is new; and the orders that all of it would be.
    """

    instead: list[tuple[ImagingCall, str] | None]
    added: list[Call]
    first: list[ImagingCall | None]
    orders: list[Order]


def _apart(variants: int, said: Sequence[tuple[RatedOrder, int]]) -> list[tuple[int, list[RatedOrder]]]:
    """These variants, those together in which something is said of the same drafts; `said`: in which it is of each."""
    parts: list[tuple[int, list[RatedOrder]]] = [(variants, [])]
    for one, so in said:
        split = [((of & so, [*drafts, one]), (of & ~so, drafts)) for of, drafts in parts]
        parts = [part for both in split for part in both if part[0]]
    return parts


def _is_urgent(recommendation: Recommendation) -> bool:
    return bool(recommendation.red_flag or recommendation.critical_when) or recommendation.indicator in URGENT


def _has_radiograph_first(recommendation: Recommendation) -> bool:
    """Whether a red flag calls for a radiograph, and for other imaging."""
    modalities = {call.modality for call in recommendation.imaging}
    return recommendation.red_flag is not None and RADIOGRAPH in modalities and len(modalities) > 1


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
