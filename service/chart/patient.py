"""The chart as it was received, by what its resources name its patient, and whose a resource is: one rule for all.

Specification: FHIR R4, References; Bundle (resolving references); Observation.focus.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

from cds_hooks.prefetch import PrefetchValue, full_urls
from service.chart.elements import as_dict, as_text, decoded, each, identifier_of

# A focus that is a part of the chart itself, such as a known condition: what is observed is still the patient.
_OF_A_CHART = re.compile(r"(?:.*/)?(?:BodyStructure|Condition|Encounter|Observation|Procedure)/")
# Which of several names is the patient's: the lower, the better; one without a use lies between.
_NAMES = {"official": 0, "usual": 0, "nickname": 2, "anonymous": 2, "temp": 2, "maiden": 3, "old": 3}


class Owner(Enum):
    """Whose a resource is."""

    OWN = "own"
    OTHER = "other"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Unneeded:
    """What the resources say together that were taken out of a chart beforehand, as no rule can use one of them.

    understood: whether one of them has a code of a system that the knowledge has codes of; foreign: where none has, how
    many Observations and Conditions they are; kinds: their types.
    """

    understood: bool = False
    foreign: int = 0
    kinds: frozenset[str] = frozenset()

    def __add__(self, other: Unneeded) -> Unneeded:
        return Unneeded(self.understood or other.understood, self.foreign + other.foreign, self.kinds | other.kinds)


NOTHING_UNNEEDED = Unneeded()


@dataclass(frozen=True, slots=True)
class ReceivedChart:
    """A patient's chart as it was received: FHIR ids of patient and visit (empty without one), and the resources,
    without those that are `unneeded`."""

    patient_id: str
    prefetch: Mapping[str, PrefetchValue] = field(repr=False)
    encounter_id: str = ""
    unneeded: Unneeded = NOTHING_UNNEEDED


def patient_named(reference: str) -> str:
    """The FHIR id of the patient that a reference names (relative, absolute, with a version, a urn:uuid or a bare id);
    empty where it names something else.
    """
    if reference.startswith("urn:uuid:"):
        return reference.removeprefix("urn:uuid:")
    kind, _, identifier = reference.partition("/_history/")[0].rpartition("/")
    return identifier if kind.rpartition("/")[2] in ("Patient", "") else ""


class PatientNames:
    """The patient of a chart by id, by the full URLs of the Bundles, by the identifiers of the Patient.

    Most charts refer by the id alone; the rest is looked up where a resource refers in another way.
    """

    def __init__(self, chart: ReceivedChart) -> None:
        self.patient_id, self._prefetch = chart.patient_id, chart.prefetch
        self._known: dict[str, bool] = {}

    @cached_property
    def _full_urls(self) -> frozenset[str]:
        own = ("Patient", self.patient_id)
        return frozenset(url for value in self._prefetch.values() for url, named in full_urls(value) if named == own)

    @cached_property
    def _identifiers(self) -> frozenset[tuple[str, str]]:
        """System and value of each identifier that has both."""
        patient = self._prefetch.get("patient")
        resources = [decoded(raw) for raw in patient.resources] if patient else []
        own = (one for one in resources if one.get("id") in (self.patient_id, None))
        named = (identifier_of(identifier) for one in own for identifier in each(one.get("identifier")))
        return frozenset(filter(None, named))

    def means(self, reference: str) -> bool:
        """Whether a reference (relative, absolute, with a version, a urn:uuid or a full URL) means this patient."""
        # A chart repeats the patient in every resource.
        if reference not in self._known:
            self._known[reference] = self._means(reference)
        return self._known[reference]

    def _means(self, reference: str) -> bool:
        if patient_named(reference) == self.patient_id:
            return True
        return ("://" in reference or reference.startswith("urn:uuid:")) and reference in self._full_urls

    def owner(self, reference: object) -> Owner:
        """Whose something is that has this Reference; one that names nobody is the patient's, among whose it lies.

        A logical reference is somebody else's when the Patient has another identifier of the same system.
        """
        to = {"reference": reference} if isinstance(reference, str) else {} if reference is None else reference
        if not isinstance(to, dict):
            return Owner.UNREADABLE
        if written := to.get("reference"):
            if not isinstance(written, str):
                return Owner.UNREADABLE
            return Owner.OWN if self.means(written) else Owner.OTHER
        named = identifier_of(to.get("identifier"))
        if named is None:
            return Owner.OWN
        of_system = {known for known in self._identifiers if known[0] == named[0]}
        return Owner.OTHER if of_system and named not in of_system else Owner.OWN

    def whose(self, resource: Mapping[str, Any]) -> Owner:
        """Whose a resource is, by its subject or patient, and by its focus: what is observed is then that."""
        subject = resource.get("subject")
        subject = resource.get("patient") if subject is None else subject
        if subject is None and "Patient/" in as_text(as_dict(resource.get("source")).get("reference")):
            # A form without a subject is about the patient who filled it in.
            subject = resource["source"]
        owner = self.owner(subject)
        if owner is Owner.OWN and "focus" in resource:
            focuses = (to for to in each(resource["focus"]) if not _OF_A_CHART.match(as_text(to.get("reference"))))
            return next((focus for focus in map(self.owner, focuses) if focus is not Owner.OWN), owner)
        return owner


def name_and_birth(chart: ReceivedChart) -> tuple[str, str]:
    """How the patient is called, and the date of birth as it is written; empty where the Patient does not say.

    Specification: FHIR R4, Patient.name: the name in use is the official or usual one.
    """
    value = chart.prefetch.get("patient")
    resources = [decoded(raw) for raw in value.resources] if value else []
    own = next((one for one in resources if one.get("id") == chart.patient_id), {})
    names = sorted(each(own.get("name")), key=lambda name: _NAMES.get(as_text(name.get("use")), 1))
    for name in names:
        given = name.get("given")
        parts = [*(given if isinstance(given, list) else []), name.get("family")]
        whole = as_text(name.get("text")) or " ".join(filter(None, map(as_text, parts)))
        if whole:
            return whole, as_text(own.get("birthDate"))
    return "", as_text(own.get("birthDate"))
