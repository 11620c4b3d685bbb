"""The Encounter in context -> what it asserts: the reasons of the visit, among them the complaint.

A reason is what somebody came for, and no finding of an examination: a symptom is the complaint, a diagnosis or a
danger is provisional. A reason that refers to a Condition or an Observation says that it is of this visit.
Specification: FHIR R4, Encounter (reasonCode, reasonReference, diagnosis); R5, Encounter (reason, diagnosis), DSTU2 and
STU3, Encounter (reason).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import structs

from service.chart.assertions import BY_TEXT, PRESENT, PROVISIONAL, READERS, Assertion, Reading, Source
from service.chart.elements import as_dict, as_text, changed_by, dated, each, reference_to, statuses
from service.knowledge_model.model import LOCAL_SYSTEM, Code

_NOT_EVIDENCE = frozenset({"entered-in-error", "cancelled"})
# What a patient can come for; of all else a reason is no proof.
_COMPLAINED_OF = frozenset({"symptom", "history"})
_REFERRED_TO = frozenset({"Condition", "Observation"})
# Finds the resource that a reference names among what came, if it is the patient's own.
Find = Callable[[str], Mapping[str, Any]]


def reasons(encounter: Mapping[str, Any], reading: Reading) -> Iterator[Assertion]:
    """What the reasons in codes and in words assert."""
    concepts = list(_concepts(encounter))
    if concepts and (source := _source(encounter, reading)):
        for concept in concepts:
            yield from _reason(concept, source)


def reasons_referred_to(encounter: Mapping[str, Any], reading: Reading, find: Find) -> Iterator[Assertion]:
    """What the reasons that are resources assert anew, on the day of the visit; an event stays as old as it is."""
    references = dict.fromkeys(_references(encounter))
    # Most visits have none.
    source = _source(encounter, reading) if references else None
    if source is None:
        return
    within = {f"#{as_text(one.get('id'))}": one for one in each(encounter.get("contained"))}
    for reference in references:
        contained = within.get(reference)
        resource = find(reference) if contained is None else {**contained, "id": encounter.get("id")}
        if resource.get("resourceType") not in _REFERRED_TO:
            continue
        named = reference_to(encounter) if contained is not None else reference_to(resource)
        for found in READERS[resource["resourceType"]](resource, reading):
            event = reading.index.findings[found.finding].dated_event
            when = found.when if event else source.time.when or found.when
            fresh = structs.replace(found, resource=named, when=when)
            # What is in the chart by itself is asserted there; what is older than this visit is of today by it.
            if contained is not None or (found.value is True and not found.past and _is_later(fresh, found)):
                yield fresh


def _is_later(fresh: Assertion, found: Assertion) -> bool:
    return bool(fresh.when and found.when and found.when.high < fresh.when.low)


def _source(encounter: Mapping[str, Any], reading: Reading) -> Source | None:
    if statuses(encounter.get("status")) & _NOT_EVIDENCE:
        return None
    period = encounter.get("period") or encounter.get("actualPeriod")
    return Source(reading, reference_to(encounter), dated(as_dict(period), ("start",)), changed=changed_by(encounter))


def _concepts(encounter: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from each(encounter.get("reasonCode"))
    for reason in each(encounter.get("reason")):
        # Of R5 it has the concepts and references of its kind in `value`; before R4 it is a concept.
        if "value" not in reason:
            yield reason
    for either in _either(encounter):
        yield from each(either.get("concept"))
    for to in _referring(encounter):
        # What a reference is called; where it leads to what came, that says the same.
        if to.get("display"):
            yield {"text": to["display"]}


def _either(encounter: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The CodeableReferences of R5."""
    for member, within in (("reason", "value"), ("diagnosis", "condition")):
        for element in each(encounter.get(member)):
            yield from each(element.get(within))


def _referring(encounter: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from each(encounter.get("reasonReference"))
    for either in _either(encounter):
        # A Reference of R4, or that of a CodeableReference of R5.
        yield from each(either["reference"]) if isinstance(either.get("reference"), dict) else (either,)


def _references(encounter: Mapping[str, Any]) -> Iterator[str]:
    for to in _referring(encounter):
        if written := as_text(to.get("reference")):
            yield written


def _reason(concept: Mapping[str, Any], source: Source) -> Iterator[Assertion]:
    index = source.reading.index
    rows = index.rows(concept)
    in_words = [] if rows else index.complaints_in_words(concept)
    side, at = index.place((), concept)
    worded = side or index.side_in_words(concept)
    for row in (*rows, *in_words):
        if row in in_words or (_is_said(row, source.reading) and (not row.site or row.site in at)):
            provisional = index.findings[row.concept].kind not in _COMPLAINED_OF
            remarks = (*([PROVISIONAL] if provisional else ()), *([BY_TEXT] if in_words else ()))
            remarked = structs.replace(source, remarks=remarks)
            yield remarked.asserts(row.concept, PRESENT, row.side if in_words else side or row.side or worded)


def _is_said(row: Code, reading: Reading) -> bool:
    """Whether a code as a reason asserts its finding; a medicine is none that is taken."""
    kind = reading.index.findings[row.concept].kind
    return reading.index.asserts(row) and (kind != "medication" or row.system == LOCAL_SYSTEM)
