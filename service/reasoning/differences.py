"""What two bodies of knowledge decide of the same chart, as far as somebody would act on it, and what of that differs.

Compared are recommendations with their indicators, imaging and referrals with their priorities, states of treatments,
the first question and where the first cause of each side stands: no words. What differs is told in ids of the
knowledge; no value and no text of the chart is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from service.knowledge_model.vocabulary import INDICATORS
from service.reasoning.assessment import Assessment, ImagingCall, ReferralCall
from service.reasoning.evidence import Fired

# The kinds of differences: of recommendations, of orders, and of the rest.
RED_FLAG_LOST, LOST, NEW, TIER = "red-flag-lost", "lost", "new", "tier"
ORDER_LOST, ORDER_NEW, ORDER = "order-lost", "order-new", "order"
TREATMENT, ASK, LEAD = "treatment", "ask", "lead"
# The other knowledge does not answer the call at all.
REFUSED = "refused"
KINDS = (RED_FLAG_LOST, LOST, NEW, TIER, ORDER_LOST, ORDER_NEW, ORDER, TREATMENT, ASK, LEAD, REFUSED)
# What stands for nothing, where something is told before and after a change.
_NONE = "none"


class Difference(NamedTuple):
    """One thing that is decided otherwise. `what`: the id of a recommendation, order or treatment, or a side; `how`:
    what it is, or what it was and is, as in `info>warning`."""

    kind: str
    what: str
    how: str


@dataclass(frozen=True, slots=True)
class Decided:
    """What is decided of a chart.

    fired: recommendation -> its indicator; red_flags: those of these that are about one; orders: imaging and referrals
    -> priority; treatment -> state; asks: the finding that is asked for first; leads: side -> the first cause and its
    band. `complaint`: whether the chart is of this pain.
    """

    complaint: bool = False
    fired: Mapping[str, str] = field(default_factory=dict)
    red_flags: frozenset[str] = frozenset()
    orders: Mapping[str, str] = field(default_factory=dict)
    treatment: Mapping[str, str] = field(default_factory=dict)
    asks: str = ""
    leads: Mapping[str, str] = field(default_factory=dict)


# Of a call that is not answered.
NOTHING_DECIDED = Decided()


def decided(assessment: Assessment, fired: Iterable[Fired]) -> Decided:
    """What is decided by this assessment, of which this `fired`, for a draft order or the chart."""
    calls: tuple[ImagingCall | ReferralCall, ...] = (*assessment.imaging, *assessment.referrals)
    indicators: dict[str, str] = {}
    red_flags = set()
    for each in fired:
        id_ = each.recommendation.id
        known = indicators.get(id_, INDICATORS[-1])
        indicators[id_] = min(known, each.indicator, key=INDICATORS.index)
        if each.recommendation.red_flag:
            red_flags.add(id_)
    return Decided(
        assessment.complaint == "present",
        indicators,
        frozenset(red_flags),
        {call.key: call.priority for call in calls},
        {call.id: call.state for call in assessment.treatment},
        assessment.ask[0].finding if assessment.ask else "",
        {each.side: f"{first.id} {first.band}" for each in assessment.rankings for first in each.causes[:1]},
    )


def differences(before: Decided, after: Decided) -> tuple[Difference, ...]:
    """What is decided otherwise `after`, in the order of KINDS and ids."""
    return tuple(sorted(_differences(before, after), key=lambda each: (KINDS.index(each.kind), each.what)))


def _differences(before: Decided, after: Decided) -> Iterator[Difference]:
    for id_ in before.red_flags - after.red_flags:
        yield Difference(RED_FLAG_LOST, id_, before.fired[id_])
    for id_ in before.fired.keys() - after.fired.keys() - before.red_flags:
        yield Difference(LOST, id_, before.fired[id_])
    for id_ in after.fired.keys() - before.fired.keys():
        yield Difference(NEW, id_, after.fired[id_])
    yield from _changed(TIER, before.fired, after.fired)
    for key in before.orders.keys() - after.orders.keys():
        yield Difference(ORDER_LOST, key, before.orders[key])
    for key in after.orders.keys() - before.orders.keys():
        yield Difference(ORDER_NEW, key, after.orders[key])
    yield from _changed(ORDER, before.orders, after.orders)
    yield from _changed(TREATMENT, before.treatment, after.treatment, also_one_sided=True)
    yield from _changed(ASK, {"": before.asks}, {"": after.asks})
    yield from _changed(LEAD, before.leads, after.leads, also_one_sided=True)


def _changed(
    kind: str, before: Mapping[str, str], after: Mapping[str, str], *, also_one_sided: bool = False
) -> Iterator[Difference]:
    """What is another one in both, or also what only one of them has."""
    of = before.keys() | after.keys() if also_one_sided else before.keys() & after.keys()
    for name in of:
        was, is_now = (one.get(name) or _NONE for one in (before, after))
        if was != is_now:
            yield Difference(kind, name, f"{was}>{is_now}")
