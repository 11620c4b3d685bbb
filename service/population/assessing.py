"""One chart of a population -> its row: what the knowledge makes of it, without a name, a text or a code of the chart.

Pure: the clock is an argument, there is no I/O. It goes through the reader and the assessor that answer the hooks; a
visit is not in context, and what is ordered already is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import NamedTuple

import msgspec

from cds_hooks.errors import CdsHooksError
from cds_hooks.json_text import UNREADABLE
from cds_hooks.prefetch import PrefetchState, PrefetchValue
from service.chart.case import Case, CaseReader, LeftOut, ResourceHead
from service.chart.patient import NOTHING_UNNEEDED, ReceivedChart, Unneeded
from service.features.resources import features, reader_of
from service.knowledge_model.conditions import Interval
from service.knowledge_model.model import Knowledge
from service.prefetch_keys import (
    ALLERGIES,
    CONDITIONS,
    MEDICATION_STATEMENTS,
    MEDICATIONS,
    OBSERVATIONS,
    PATIENT,
    QUESTIONNAIRE_RESPONSES,
)
from service.reasoning.assessment import Assessment, Assessor

# The types of resources that are read, and the prefetch key under which a hook would have them.
KEYS: Mapping[str, str] = {
    "Patient": PATIENT,
    "Condition": CONDITIONS,
    "Observation": OBSERVATIONS,
    "QuestionnaireResponse": QUESTIONNAIRE_RESPONSES,
    "MedicationRequest": MEDICATIONS,
    "MedicationStatement": MEDICATION_STATEMENTS,
    "AllergyIntolerance": ALLERGIES,
}
# Those of which a row says what became of them.
DATA_TYPES = tuple(kind for kind in KEYS if kind != "Patient")
# What medicines are, where their orders say it by a reference. It belongs to no patient.
MEDICATION = "Medication"
# A patient with more resources is not read: nobody has looked at what that takes.
MOST_RESOURCES = 200_000
TOO_LARGE = "too-large"
# What a chart can bring the code to raise. Where memory, a disk or a process is at an end, the run is.
_OF_ONE_CHART = (CdsHooksError, *UNREADABLE, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_BANDS = (0, 12, 18, 30, 40, 50, 60, 70, 80, 90)
UNKNOWN = "unknown"
NOTHING_LEFT_OUT = LeftOut()


class Fired(NamedTuple):
    """A recommendation that is said, and how urgent."""

    id: str
    tier: str


class Call(NamedTuple):
    """Imaging (modality and region) or a referral, as one key, with its priority."""

    key: str
    priority: str


class Treatment(NamedTuple):
    """A treatment and its state: offer or hold."""

    id: str
    state: str


@dataclass(frozen=True, slots=True)
class Row:
    """What comes of one patient. `failed` is the class of what went wrong; then nothing is said of the chart.

    data: what became of each type of resource; lost, new: what fired by the other knowledge alone, and by this alone;
    an id in both fired by both, as urgent as it says there. features: the case features as JSON, where they are asked
    for; they alone hold what the chart says.
    """

    patient: str
    as_of: datetime
    age_band: str = UNKNOWN
    sex: str = UNKNOWN
    deceased: bool = False
    complaint: str = ""
    fired: tuple[Fired, ...] = ()
    imaging: tuple[Call, ...] = ()
    referrals: tuple[Call, ...] = ()
    treatment: tuple[Treatment, ...] = ()
    lead: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    left_out: LeftOut = NOTHING_LEFT_OUT
    resources: int = 0
    failed: str | None = None
    lost: tuple[Fired, ...] = ()
    new: tuple[Fired, ...] = ()
    features: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """Resources of a patient that no rule can use: how many, and what they say together to each body of knowledge."""

    count: int = 0
    says: tuple[Unneeded, ...] = ()

    def __add__(self, other: Dropped) -> Dropped:
        if not self.count or not other.count:
            return self if self.count else other
        says = (one + another for one, another in zip(self.says, other.says, strict=True))
        return Dropped(self.count + other.count, tuple(says))


NOTHING_DROPPED = Dropped()


class PopulationAssessor:
    """Assesses the charts of a population by one body of knowledge and, if there is a second, beside that one.

    With `features`, a row also has what was read of the chart, as case features of FHIR.
    """

    def __init__(self, knowledge: Knowledge, beside: Knowledge | None = None, *, features: bool = False) -> None:
        bodies, self._features = [knowledge, *([beside] if beside else [])], features
        self._by = [(CaseReader(body), Assessor(body)) for body in bodies]

    def __getstate__(self) -> tuple[Sequence[Assessor], bool]:
        # A reader remembers what codes came to, which no process can hand to another.
        return [assessor for _reader, assessor in self._by], self._features

    def __setstate__(self, state: tuple[Sequence[Assessor], bool]) -> None:
        assessors, self._features = state
        self._by = [(CaseReader(assessor.knowledge), assessor) for assessor in assessors]

    def sort_out(
        self, patient_id: str, resources: Sequence[msgspec.Raw], heads: Sequence[ResourceHead], as_of: datetime
    ) -> tuple[list[int], Dropped]:
        """The places of those of a patient's resources that a rule can use, and the others in short."""
        try:
            return self._sorted_out(patient_id, resources, heads, as_of)
        except _OF_ONE_CHART:
            # What is wrong with this chart shows again where it is assessed, and is counted there.
            return [*range(len(resources))], NOTHING_DROPPED

    def _sorted_out(
        self, patient_id: str, resources: Sequence[msgspec.Raw], heads: Sequence[ResourceHead], as_of: datetime
    ) -> tuple[list[int], Dropped]:
        found = [reader.needed(patient_id, resources, heads, as_of) for reader, _assessor in self._by]
        kept = set().union(*(places for places, _says in found))
        left = [place for place in range(len(resources)) if place not in kept]
        if not left:
            return sorted(kept), NOTHING_DROPPED
        says = []
        for (reader, _assessor), (places, of_all) in zip(self._by, found, strict=True):
            if len(places) == len(kept):
                says.append(of_all)
            else:
                others = [resources[place] for place in left], [heads[place] for place in left]
                says.append(reader.needed(patient_id, *others, as_of)[1])
        return sorted(kept), Dropped(len(left), tuple(says))

    def assess_chart(
        self,
        patient_id: str,
        resources_by_type: Mapping[str, Sequence[bytes]],
        states: Mapping[str, PrefetchState],
        as_of: datetime,
        dropped: Dropped = NOTHING_DROPPED,
    ) -> Row:
        """The row of a patient at a time in UTC.

        `states` says of each of DATA_TYPES whether it was exported (supplied), was not (missing), or not in full
        (incomplete). `dropped`: what of the chart was left behind by sort_out.
        """
        own = (len(found) for kind, found in resources_by_type.items() if kind != MEDICATION)
        resources = dropped.count + sum(own)
        if resources > MOST_RESOURCES:
            return Row(patient_id, as_of, resources=resources, failed=TOO_LARGE)
        try:
            return self._row(patient_id, resources_by_type, states, as_of, dropped, resources=resources)
        except _OF_ONE_CHART as problem:
            return Row(patient_id, as_of, resources=resources, failed=type(problem).__name__)

    def _row(
        self,
        patient_id: str,
        resources_by_type: Mapping[str, Sequence[bytes]],
        states: Mapping[str, PrefetchState],
        as_of: datetime,
        dropped: Dropped,
        *,
        resources: int,
    ) -> Row:
        assessed = []
        for number, (reader, assessor) in enumerate(self._by):
            unneeded = dropped.says[number] if dropped.says else NOTHING_UNNEEDED
            prefetch = _prefetch(resources_by_type, states, unneeded)
            case = reader.read(ReceivedChart(patient_id, prefetch, unneeded=unneeded), as_of)
            assessed.append((case, assessor.assess(case, asking=False)))
        (case, assessment), *others = assessed
        fired = _fired(assessment)
        before = _fired(others[0][1]) if others else fired
        return Row(
            patient=patient_id,
            as_of=as_of,
            age_band=age_band(case.patient.age),
            sex=case.patient.sex or UNKNOWN,
            deceased=case.patient.deceased,
            complaint=assessment.complaint,
            fired=fired,
            imaging=tuple(sorted(Call(call.key, call.priority) for call in assessment.imaging)),
            referrals=tuple(sorted(Call(call.key, call.priority) for call in assessment.referrals)),
            treatment=tuple(sorted(Treatment(call.id, call.state) for call in assessment.treatment)),
            lead=tuple(sorted({ranking.leader.id for ranking in assessment.rankings if ranking.leader})),
            data=tuple(case.data[KEYS[kind]] for kind in DATA_TYPES),
            left_out=case.left_out,
            resources=resources,
            lost=tuple(each for each in before if each not in fired),
            new=tuple(each for each in fired if each not in before),
            features=tuple(self._features_of(case, patient_id)) if self._features else (),
        )

    def _features_of(self, case: Case, patient_id: str) -> Iterator[bytes]:
        # They name who read them by the first body of knowledge, which is that of the rows.
        return map(msgspec.json.encode, features(case, patient_id, reader_of(self._by[0][1].knowledge)))


def _prefetch(
    resources_by_type: Mapping[str, Sequence[bytes]], states: Mapping[str, PrefetchState], unneeded: Unneeded
) -> dict[str, PrefetchValue]:
    """What a hook would have under its prefetch keys."""
    prefetch = {}
    for kind, key in KEYS.items():
        resources = resources_by_type.get(kind, ())
        state = states.get(kind, PrefetchState.SUPPLIED)
        if state is PrefetchState.SUPPLIED and not resources and kind not in unneeded.kinds:
            state = PrefetchState.EMPTY
        # Where medicines are known by a reference, what it names lies beside them, as it would in a Bundle.
        named = resources_by_type.get(MEDICATION, ()) if kind == "MedicationRequest" else ()
        prefetch[key] = PrefetchValue(key, state, tuple(map(msgspec.Raw, (*named, *resources))))
    return prefetch


def _fired(assessment: Assessment) -> tuple[Fired, ...]:
    return tuple(sorted(Fired(each.recommendation.id, each.indicator) for each in assessment.fired))


def age_band(age: Interval | None) -> str:
    """The band of an age in years, as 30-39; unknown too where a birth date is so short that there are two."""
    if age is None:
        return UNKNOWN
    low, high = (max(start for start in _BANDS if start <= max(years, 0)) for years in (age.low, age.high))
    return _BAND_NAMES[low] if low == high else UNKNOWN


_BAND_NAMES = {
    start: f"{start}-{end - 1}" if end else f"{start}+" for start, end in zip(_BANDS, (*_BANDS[1:], 0), strict=True)
}
AGE_BANDS = (*_BAND_NAMES.values(), UNKNOWN)
LEFT_OUT = tuple(field.name for field in fields(LeftOut))


def total(dropped: Iterable[Dropped]) -> Dropped:
    """What was dropped of one patient in several places, together."""
    return sum(dropped, NOTHING_DROPPED)
