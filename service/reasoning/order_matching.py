"""Whether orders and studies satisfy what the knowledge calls for, and for which side. Every service asks here, so that
what one of them accepts no other asks for again. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import date, datetime
from functools import cached_property

import msgspec

from service.chart.assertions import SIDE_UNREADABLE
from service.chart.elements import BILATERAL, LEFT, NO_SIDE, RIGHT
from service.chart.orders import OnChart, Order
from service.knowledge_model.model import Knowledge, Presentation, Rating
from service.knowledge_model.vocabulary import RATINGS
from service.reasoning.assessment import Assessment, ImagingCall, ReferralCall, presentations
from service.reasoning.differential import NO_SIDE_NAMED
from service.reasoning.evidence import Evidence, Fired

_RADIOGRAPH, _NONE = "radiograph", "none-now"
_APPROPRIATE = RATINGS[0]

Call = ImagingCall | ReferralCall
# A rating whose conditions are true of a chart, with the presentation that it is of.
Applicable = tuple[Presentation, Rating]


class OrderMatching:
    """Which orders satisfy which calls on one chart, at a time in UTC."""

    def __init__(self, knowledge: Knowledge, assessment: Assessment, on_chart: OnChart, now: datetime) -> None:
        self.knowledge, self.assessment, self.on_chart = knowledge, assessment, on_chart
        self.now, self.roles = now, knowledge.engine.imaging
        # How long imaging counts as done not long ago.
        self.recent_days = int(knowledge.thresholds[self.roles.recent]["value"])
        self.imaging = [call for call in assessment.imaging if call.modality != _NONE]
        self._applicable: dict[tuple[bool, str], tuple[Applicable, ...]] = {}
        self._called_for: dict[tuple[str, frozenset[str] | None], str] = {}
        # Where other imaging is called for by itself, each is needed.
        self._called = frozenset(call.key for call in self.imaging)

    def called_by(self, call: Call) -> Set[str]:
        """See Assessment.called_by."""
        return self._called_by.get(call.key, frozenset())

    @cached_property
    def _called_by(self) -> Mapping[str, Set[str]]:
        found: dict[str, set[str]] = {}
        for each in self.assessment.calls:
            found.setdefault(each.key, set()).add(each.recommendation)
        return found

    # -- sides --------------------------------------------------------------------------------------------------------

    def side_of(self, call: Call, among: frozenset[str] | None = None) -> str:
        """The side that this is called for, as the assessment names sides; `among` are the recommendations that count.

        With both sides on the chart it is the side of the findings that call for it, where these name one alone. What
        stands on a finding with a side that could not be read is called for without one.
        """
        key = call.key, among
        if key not in self._called_for:
            self._called_for[key] = self._side_of(call, among)
        return self._called_for[key]

    def _side_of(self, call: Call, among: frozenset[str] | None) -> str:
        if self.assessment.side == NO_SIDE_NAMED:
            return NO_SIDE_NAMED
        called_by = self.called_by(call) if among is None else self.called_by(call) & among
        behind = [fired for fired in self.assessment.fired if fired.recommendation.id in called_by]
        if self.sides_unreadable and any(self._may_be_elsewhere(item) for fired in behind for item in fired.evidence):
            return NO_SIDE_NAMED
        if self.assessment.side != BILATERAL:
            return self.assessment.side
        return _one_side(side for fired in behind for side in self._sides(fired))

    @cached_property
    def sides_unreadable(self) -> bool:
        """Whether any finding has a side that could not be read."""
        stated = self.assessment.case.assertions.values() if self.assessment.case else ()
        return any(SIDE_UNREADABLE in each.remarks for found in stated for each in found)

    def _sides(self, fired: Fired) -> Iterator[str]:
        """The sides of what this recommendation stands on; both where it names none."""
        sides = {item.side for item in fired.evidence if item.side and self._is_of_the_pain(item.finding, item.state)}
        yield from (LEFT, RIGHT) if not sides or BILATERAL in sides else sides

    def _may_be_elsewhere(self, item: Evidence) -> bool:
        return SIDE_UNREADABLE in item.remarks and self._is_of_the_pain(item.finding, item.state)

    def _is_of_the_pain(self, name: str, state: str) -> bool:
        finding = self.knowledge.findings.get(name)
        known = state not in ("absent", "unknown")
        return finding is not None and known and not (finding.is_context or finding.whole_patient)

    def side_for(self, order: Order, beside: Sequence[Order]) -> str:
        """The side that an order ought to have: of what it would satisfy, otherwise of the pain."""
        if self.assessment.side != BILATERAL and not self.sides_unreadable:
            return self.assessment.side
        anywhere = [msgspec.structs.replace(order, side=NO_SIDE)]
        sides = [self.side_of(call) for call in self.imaging if self.satisfying(call, anywhere, beside)]
        return _one_side(sides) if sides else self.assessment.side

    def compared(self, key: str, side: str) -> str:
        """The side by which orders of this template are compared; none where its words have none."""
        template = self.knowledge.orders.get(key)
        return NO_SIDE if template and not template.sided else side

    # -- what is done -------------------------------------------------------------------------------------------------

    @cached_property
    def recently_done(self) -> tuple[Order, ...]:
        """The imaging that was done within the set time, each the newest of its kind and side."""
        newest = (
            self.on_chart.recently_done(order.key, order.side, self.now, self.recent_days)
            for order in self.on_chart.done
        )
        return tuple(dict.fromkeys(order for order in newest if order))

    @cached_property
    def done(self) -> tuple[Order, ...]:
        """What of it still counts: nothing urgent is documented since."""
        return tuple(order for order in self.recently_done if not self.changed_since(order))

    def changed_since(self, order: Order) -> bool:
        return order.when is None or self.assessment.changed_since(order.when)

    def _radiograph_done(self, side: str) -> bool:
        """Whether where it hurts was radiographed in this episode: since it began, or where that is not known within
        the set time. A radiograph from before the injury does not show it.
        """
        if not self.on_chart.done:
            return False
        if self._began is None:
            return any(self._is_radiograph(order, side) for order in self.recently_done)
        return any(
            self._is_radiograph(order, side) and order.when is not None and order.when.high.date() >= self._began
            for order in self.on_chart.done
        )

    @cached_property
    def _began(self) -> date | None:
        """The day on which this episode began."""
        began = self.assessment.case.began(NO_SIDE) if self.assessment.case else None
        return began.date() if began else None

    def _is_radiograph(self, order: Order, side: str) -> bool:
        """Whether it is a radiograph of where the pain is, or where both sides hurt, of this side."""
        if order.modality != _RADIOGRAPH or order.region not in self.roles.regions_of_complaint:
            return False
        looked_at = self.assessment.side if self.assessment.side in (LEFT, RIGHT) else side
        return order.region in self.roles.shown_on_both_sides or {looked_at, order.side} != {LEFT, RIGHT}

    # -- what satisfies a call ----------------------------------------------------------------------------------------

    def has_radiograph(self, orders: Iterable[Order], side: str = NO_SIDE, *, of_late: bool = False) -> bool:
        """Whether a radiograph of where it hurts is done or among these orders, for an order of this side; `of_late`:
        done within the set time, which is what counts where one is to be repeated.
        """
        if of_late:
            done = any(self._is_radiograph(order, side) for order in self.recently_done)
        else:
            done = self._radiograph_done(side)
        return done or any(self._is_radiograph(order, side) for order in orders if order.state != "done")

    def applicable(
        self, orders: Iterable[Order], side: str = NO_SIDE, *, of_late: bool = False, supposed: str = ""
    ) -> tuple[Applicable, ...]:
        """The ratings whose conditions are true of this chart beside these orders, for an order of this side;
        `supposed`: with this red flag raised as well.
        """
        key = (self.has_radiograph(orders, side, of_late=of_late), supposed)
        if key not in self._applicable:
            self._applicable[key] = presentations(self.knowledge, self.assessment, *key)
        return self._applicable[key]

    def satisfying(
        self,
        call: Call,
        orders: Sequence[Order],
        beside: Sequence[Order] = (),
        among: frozenset[str] | None = None,
    ) -> tuple[Order, ...]:
        """Those of these orders that satisfy the call: they are what is called for, its alternative, or imaging that is
        as good. Empty where none does; for both sides an order for each will do. What is ordered `beside` them counts
        for nothing, but may be the radiograph after which they are as good. `among`: see side_of.
        """
        side = self.compared(call.key, self.side_of(call, among))
        if side != BILATERAL:
            return self._satisfying_on(side, call, orders, beside)
        left, right = (self._satisfying_on(each, call, orders, beside) for each in (LEFT, RIGHT))
        return tuple(dict.fromkeys((*left, *right))) if left and right else ()

    def _satisfying_on(
        self, side: str, call: Call, orders: Sequence[Order], beside: Sequence[Order]
    ) -> tuple[Order, ...]:
        """As satisfying, on one side."""
        key = call.key
        if found := tuple([order for order in orders if order.covers(key, side)]):
            return found
        if not isinstance(call, ImagingCall):
            return ()
        for_it = [order for order in orders if order.covers(order.key, self.compared(order.key, side))]
        if found := tuple(o for o in for_it if (o.region, o.modality) == (call.region, call.alternative)):
            return found
        alike = [order for order in for_it if order.modality == call.modality and order.key not in self._called]
        regions = self._as_good_as(call, side, (*orders, *beside)) if alike else frozenset[str]()
        return tuple(order for order in alike if order.region in regions)

    def _as_good_as(self, call: ImagingCall, side: str, orders: Sequence[Order]) -> frozenset[str]:
        """The regions of which imaging is as good: one rating finds them as appropriate as what is called for."""
        return frozenset(
            region
            for _presentation, rating in self.applicable(orders, side)
            if rating.rating == _APPROPRIATE and rating.modality == call.modality and call.region in rating.regions
            for region in rating.regions
        )


def _one_side(sides: Iterable[str]) -> str:
    """The one that they are; both where there are several, or none. No more of them are looked at than it takes."""
    found = iter(sides)
    one = next(found, BILATERAL)
    return BILATERAL if any(side != one for side in found) else one
