"""One medicine or one allergy -> what it asserts about findings, or that nothing of it could be read.

A medicine or an allergy is recognised by any of its codes, then by the names in its words: ingredients, brands and
classes. A name that is none of ours is another medicine. Where there is no name and no code that is known here, it is
not recognised: that is told wherever it matters, because it may be what speaks against a medicine.
Specification: FHIR R4, MedicationRequest, MedicationStatement, Medication, AllergyIntolerance; R5, CodeableReference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from service.chart.assertions import (
    ABSENT,
    BY_NAME,
    PAST,
    PRESENT,
    REPORTED,
    UNREADABLE,
    VOID,
    Assertion,
    Reading,
    Source,
    tentative,
)
from service.chart.codes import CodeIndex, Recognised
from service.chart.elements import (
    EFFECTIVE,
    RECORDED,
    Dated,
    as_dict,
    as_list,
    as_text,
    changed_by,
    dated,
    each,
    joined,
    moment,
    reference_to,
    statuses,
)
from service.chart.fhir_time import When

MEDICATION, ALLERGY = "medication", "allergy"
# Why a medicine or an allergy is not recognised; the names of elements, as the assessment tells them.
CODE, REFERENCE = "code", "reference"
# What is over or never was. Every other status, known or not, is that of a medicine that may be taken: one on hold is
# taken again, one that is intended soon is.
_OVER = frozenset({"stopped", "completed", "entered-in-error", "cancelled", "not-taken", "not-taking", "ended"})
# Of these categories none is a medicine. FHIR R4, AllergyIntolerance.category.
_OTHER_ALLERGIES = frozenset({"food", "environment"})


class Unrecognised(msgspec.Struct, frozen=True):
    """A medicine that may be taken, or an allergy that may be to a medicine, of which no name and no code was read."""

    # MEDICATION or ALLERGY.
    kind: str
    when: When | None
    resource: str
    # CODE, REFERENCE, or the name of the element that changes its meaning.
    unreadable: str


# ---------------------------------------------------------------------------------------------------------------------
# What a medicine is


def medicine_of(resource: Mapping[str, Any], medications: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the medicine is, as one CodeableConcept of all that tells it; empty where nothing does.

    Every form is tried: the concept in the resource, a Medication within it or beside it, what the reference calls it,
    and the `medication` of later releases. A Medication is what its code and its ingredients are.
    """
    found: list[dict[str, Any]] = []
    forms = (resource.get("medicationReference"), resource.get("medicationCodeableConcept"), resource.get("medication"))
    for form in map(as_dict, forms):
        found += _concepts(form, resource, medications)
    return joined(found)


def _concepts(
    form: dict[str, Any], resource: Mapping[str, Any], medications: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The concepts that a CodeableConcept, a Reference or a CodeableReference comes to."""
    yield form
    yield from each(form.get("concept"))
    for to in (form, as_dict(form.get("reference"))):
        medication = _referred(as_text(to.get("reference")), resource, medications)
        yield from each(medication.get("code"))
        for part in each(medication.get("ingredient")):
            if part.get("isActive") is not False:
                yield from each(part.get("itemCodeableConcept"))
                yield from each(as_dict(part.get("item")).get("concept"))
                yield {"text": as_dict(part.get("itemReference")).get("display")}
        yield {"text": to.get("display")}


def _referred(
    reference: str, resource: Mapping[str, Any], medications: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Any]:
    if not reference:
        return {}
    if reference.startswith("#"):
        contained = map(as_dict, as_list(resource.get("contained")))
        return next((item for item in contained if item.get("id") == reference[1:]), {})
    identifier = reference.partition("/_history/")[0].rpartition("/")[2].removeprefix("urn:uuid:")
    return as_dict(medications.get(reference) or medications.get(identifier))


# ---------------------------------------------------------------------------------------------------------------------
# Medicines


def is_in_use(resource: Mapping[str, Any]) -> bool:
    """Whether a MedicationRequest or a MedicationStatement is of a medicine that may be taken, by its status.

    `taken` is that of STU3, `adherence` that of R5.
    """
    status = statuses(resource.get("status")) | statuses(as_dict(resource.get("adherence")).get("code"))
    if status & _OVER or as_text(resource.get("taken")) == "n":
        return False
    return not (statuses(resource.get("intent")) & {"proposal"} or resource.get("doNotPerform") is True)


def _is_over(resource: Mapping[str, Any], reading: Reading) -> bool:
    """Whether the time in which it is taken has ended, by its period or by every one of its dosages."""
    dosages = each(resource.get("dosageInstruction")) or each(resource.get("dosage"))
    bounds = [as_dict(as_dict(as_dict(dosage.get("timing")).get("repeat")).get("boundsPeriod")) for dosage in dosages]
    periods = [as_dict(resource.get("effectivePeriod"))]
    return any(_ended(periods, reading)) or (bool(bounds) and all(_ended(bounds, reading)))


def _ended(periods: list[dict[str, Any]], reading: Reading) -> Iterator[bool]:
    for period in periods:
        end = moment(period.get("end"))
        yield end is not None and end.high < reading.now


def _said(resource: Mapping[str, Any]) -> Dated:
    """When it was ordered or told; of a time in which it is taken the beginning, because the end may be to come."""
    start = {**resource, "effectivePeriod": as_dict(resource.get("effectivePeriod")).get("start")}
    return dated(start, ("authoredOn",), ("dateAsserted",), EFFECTIVE)


def _is_reported(resource: Mapping[str, Any]) -> bool:
    """Whether it is no order: told by somebody, or planned as repeat medication is."""
    return (
        resource.get("resourceType") == "MedicationStatement"
        or "plan" in statuses(resource.get("intent"))
        or resource.get("reportedBoolean") is True
        or resource.get("reported") is True
        or bool(resource.get("reportedReference"))
    )


def _medicine(resource: Mapping[str, Any], reading: Reading) -> Iterator[Assertion | Unrecognised]:
    if not is_in_use(resource):
        return
    index, medicine = reading.index, medicine_of(resource, reading.medications)
    source = Source(
        reading,
        reference_to(resource),
        _said(resource),
        (REPORTED,) if _is_reported(resource) else (),
        changed_by(resource),
        standing=True,
        past=_is_over(resource, reading),
    )
    recognised = index.medicines(medicine)
    for one in recognised:
        yield _asserted(one, source)
    if not recognised and not source.past and not index.names_something(medicine):
        yield Unrecognised(MEDICATION, source.time.when, source.reference, source.changed or _why(resource))


def _why(resource: Mapping[str, Any]) -> str:
    concept = as_dict(resource.get("medicationCodeableConcept"))
    return REFERENCE if resource.get("medicationReference") and not concept else CODE


def _asserted(one: Recognised, source: Source, *, refuted: bool = False) -> Assertion:
    if one.by_name:
        source = msgspec.structs.replace(source, remarks=(*source.remarks, BY_NAME))
    return source.asserts(one.row.concept, UNREADABLE if one.doubtful else ABSENT if refuted else PRESENT)


# ---------------------------------------------------------------------------------------------------------------------
# Allergies


def _allergy(resource: Mapping[str, Any], reading: Reading) -> Iterator[Assertion | Unrecognised]:
    """`type` and `criticality` are not looked at: an intolerance speaks against a medicine as an allergy does, and a
    mild reaction may be followed by a severe one.
    """
    verification, clinical = statuses(resource.get("verificationStatus")), statuses(resource.get("clinicalStatus"))
    if verification & VOID or clinical & VOID:
        return
    index, refuted = reading.index, "refuted" in verification
    source = Source(
        reading,
        reference_to(resource),
        dated(resource, RECORDED, ("onsetDateTime",)),
        tentative(verification),
        changed_by(resource),
        standing=True,
        past=bool(clinical & PAST),
    )
    # `substance` is what DSTU2 has for `code`.
    concepts = [resource.get("code"), resource.get("substance")]
    concepts += [reaction.get("substance") for reaction in each(resource.get("reaction"))]
    found: dict[str, Recognised] = {}
    for concept in concepts:
        for one in index.allergies(concept):
            # What one of them tells for certain, words of another do not put in doubt.
            found[one.row.concept] = min(one, found.get(one.row.concept, one), key=_doubt)
    for one in found.values():
        yield _asserted(one, source, refuted=refuted)
    if not found and not refuted and not source.past and not _is_told(concepts, resource, index):
        yield Unrecognised(ALLERGY, source.time.when, source.reference, source.changed or CODE)


def _doubt(one: Recognised) -> tuple[bool, bool]:
    return one.doubtful, one.by_name


def _is_told(concepts: list[object], resource: Mapping[str, Any], index: CodeIndex) -> bool:
    """Whether it is told what it is an allergy to, or that it is to no medicine."""
    category = resource.get("category")
    of = {as_text(one) for one in (category if isinstance(category, list) else [category])} - {""}
    return bool(of and of <= _OTHER_ALLERGIES) or any(map(index.names_something, concepts))


READERS: Final[Mapping[str, Callable[[Mapping[str, Any], Reading], Iterator[Assertion | Unrecognised]]]] = {
    "AllergyIntolerance": _allergy,
    "MedicationRequest": _medicine,
    "MedicationStatement": _medicine,
}
