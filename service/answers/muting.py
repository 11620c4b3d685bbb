"""Takes what is muted out of what is said: a part of the same answer, and never anything else.

The assessment was decided before, and stays what it was: a muted red flag still blocks, a muted hold still holds. What
is taken from it here is what the answer is written from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from service.reasoning.assessment import Assessment, ImagingCall, ReferralCall, TreatmentCall, most_urgent
from service.reasoning.evidence import Fired
from service.release.muting import Muted

# What stands among the reasons of a hold that is suspended, in the place of its findings.
SUSPENDED = "suspended"


def said(fired: Iterable[Fired], muted: Muted) -> tuple[Fired, ...]:
    """Those of these that are said."""
    return tuple(each for each in fired if each.recommendation.id not in muted.ids)


def suspended_among(fired: Iterable[Fired], muted: Muted) -> tuple[str, ...]:
    """The ids of those of these that are suspended; what is silent is not named."""
    return tuple(dict.fromkeys(each.recommendation.id for each in fired if each.recommendation.id in muted.suspended))


def unasked(reads: Mapping[str, Sequence[str]], muted: Muted) -> frozenset[str]:
    """The findings that only what is muted reads: nothing is asked about them."""
    of = {name for id_ in muted.ids for name in reads.get(id_, ())}
    return frozenset(of.difference(*(names for id_, names in reads.items() if id_ not in muted.ids)))


def without_muted(assessment: Assessment, muted: Muted, reads: Mapping[str, Sequence[str]]) -> Assessment:
    """What is said of an assessment. `reads`: the findings that each recommendation reads, see evidence.reads_of.

    What is offered alone by what is muted is offered no more; what it holds stays on hold; a question that only what is
    muted reads is not asked.
    """
    if not muted.ids:
        return assessment
    treatment = [call for each in assessment.treatment if (call := _treatment(each, assessment.all_fired, muted))]
    released = {
        call.id for call in treatment if call.state == "hold" and _holders(call.id, assessment.all_fired, muted)
    }
    offered = {call.id for call in treatment if call.state == "offer"}
    calls = [each for each in assessment.calls if each.recommendation not in muted.ids]
    left_out = unasked(reads, muted)
    return msgspec.structs.replace(
        assessment,
        fired=tuple(
            each
            for each in said(assessment.fired, muted)
            if not _offers_any(each, released) and _is_beside_an_offer(each, offered)
        ),
        imaging=most_urgent(call for call in calls if isinstance(call, ImagingCall)),
        referrals=most_urgent(call for call in calls if isinstance(call, ReferralCall)),
        treatment=tuple(treatment),
        ask=tuple(asked for asked in assessment.ask if asked.finding not in left_out),
        calls=tuple(calls),
    )


def _treatment(call: TreatmentCall, fired: Iterable[Fired], muted: Muted) -> TreatmentCall | None:
    if call.state == "offer":
        offered_by = {each.recommendation.id for each in fired if _offers_any(each, {call.id})}
        if offered_by <= muted.ids:
            return None
        return msgspec.structs.replace(call, cautions=tuple(id_ for id_ in call.cautions if id_ not in muted.ids))
    because = [name for each in said(fired, muted) if _speaks_of(each, call.id) for name in each.findings()]
    # What fired but is silent gives no reason.
    if any(id_ in muted.suspended for id_ in _holders(call.id, fired, muted)):
        because.append(SUSPENDED)
    return msgspec.structs.replace(call, because=tuple(dict.fromkeys(because)))


def _holders(treatment: str, fired: Iterable[Fired], muted: Muted) -> frozenset[str]:
    """The muted recommendations that hold it."""
    return frozenset(
        each.recommendation.id
        for each in fired
        if each.recommendation.id in muted.ids
        and any(of.id == treatment and of.state == "hold" for of in each.recommendation.treatment)
    )


def _speaks_of(fired: Fired, treatment: str) -> bool:
    """Whether its findings are a reason beside this treatment."""
    return any(of.id == treatment and (of.state == "hold" or of.without) for of in fired.recommendation.treatment)


def _offers_any(fired: Fired, treatments: Collection[str]) -> bool:
    return any(of.state == "offer" and of.id in treatments for of in fired.recommendation.treatment)


def _is_beside_an_offer(fired: Fired, offered: Collection[str]) -> bool:
    """Not how to take care with what is offered no more."""
    cautioned = {of.id for of in fired.recommendation.treatment if of.state == "caution"}
    return not cautioned or not cautioned.isdisjoint(offered)
