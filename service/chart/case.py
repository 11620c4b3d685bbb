"""Prefetched FHIR data -> Case: what is stated about each finding, by whom and when. The only reader of FHIR input.

Patient, status, time and side are settled here and nowhere else. A chart of three thousand resources is decoded only as
far as the codes of each; what the rules can use is then read in full.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec

from cds_hooks.body import ABSENT, Head, Reads
from cds_hooks.errors import PreconditionFailed
from cds_hooks.json_text import UNREADABLE
from cds_hooks.prefetch import PrefetchState, PrefetchValue, full_urls
from service.chart import assertions, medicines
from service.chart.assertions import Assertion, PlainObservation, Reading, plain_observation, read_plain
from service.chart.codes import CodeIndex
from service.chart.completeness import lacking, patient_missing
from service.chart.elements import (
    BILATERAL,
    LEFT,
    NO_SIDE,
    RIGHT,
    as_text,
    current,
    decoded,
    is_deceased,
    written_in,
)
from service.chart.encounter import reasons, reasons_referred_to
from service.chart.fhir_time import When, read_day, read_when, years_old
from service.chart.medicines import Unrecognised
from service.chart.patient import Owner, PatientNames, ReceivedChart, Unneeded
from service.chart.questionnaires import questionnaire_response
from service.knowledge_model.conditions import Interval, Value
from service.knowledge_model.engine import Derived, ImagingRoles
from service.knowledge_model.model import Code, Finding, Knowledge
from service.knowledge_model.vocabulary import SYSTEMS
from service.prefetch_keys import (
    ALLERGIES,
    COMPLAINT,
    CONDITIONS,
    ENCOUNTER,
    MEDICATION_STATEMENTS,
    MEDICATIONS,
    OBSERVATIONS,
    PATIENT,
    QUESTIONNAIRE_RESPONSES,
    kind_of,
    split_search,
)

# What stands for the resource of what nobody has documented yet.
_ANSWERED = "answer"
# Clocks and time zones differ by less.
_A_DAY = timedelta(days=1)
_READERS: Mapping[str, Callable[[Mapping[str, Any], Reading], Iterable[Assertion | Unrecognised]]] = {
    **assertions.READERS,
    **medicines.READERS,
    "QuestionnaireResponse": questionnaire_response,
}
_TYPES = frozenset({*_READERS, "Patient", "Medication"})
# These are read in full only when one of their codes is known; the others are few in a chart.
_BY_CODE = frozenset({"Observation", "Condition"})
# Of which some are in every chart that was sent.
_OF_FINDINGS = frozenset({"Observation", "Condition", "QuestionnaireResponse"})


class _Coding(msgspec.Struct, gc=False):
    system: str | None = None
    code: str | None = None


class _Concept(msgspec.Struct, gc=False):
    coding: tuple[_Coding, ...] | None = None


class Reference(msgspec.Struct, gc=False):
    """What a Reference refers by, if not by an identifier."""

    reference: str | None = None


class _Component(msgspec.Struct, gc=False):
    code: _Concept | None = None
    answer: _Concept | None = msgspec.field(default=None, name="valueCodeableConcept")


class ResourceHead(Head, gc=False):
    """As much of a resource as tells whose it is and whether a rule can use it."""

    subject: Reference | None = None
    patient: Reference | None = None
    code: _Concept | None = None
    answer: _Concept | None = msgspec.field(default=None, name="valueCodeableConcept")
    component: list[_Component] | None = None


class SoleHead(ResourceHead, gc=False, rename="camel"):
    """The same of a resource that is all that a prefetch key has, with what matters of a Patient and an Encounter
    although nothing tells of this pain: age and sex, and whether there is more to read.
    """

    id: str | None = None
    birth_date: str | None = None
    gender: str | None = None
    deceased_boolean: msgspec.Raw = ABSENT
    deceased_date_time: msgspec.Raw = ABSENT
    reason: msgspec.Raw = ABSENT
    reason_code: msgspec.Raw = ABSENT
    reason_reference: msgspec.Raw = ABSENT
    diagnosis: msgspec.Raw = ABSENT
    contained: msgspec.Raw = ABSENT

    def has_more(self) -> bool:
        """Whether it has any of these members."""
        of_patient = self.deceased_boolean, self.deceased_date_time
        of_visit = self.reason, self.reason_code, self.reason_reference, self.diagnosis, self.contained
        return any(member is not ABSENT for member in (*of_patient, *of_visit))


READS = Reads(ResourceHead, SoleHead)


class _Period(msgspec.Struct, gc=False):
    start: str | None = None
    end: str | None = None


class _Dates(msgspec.Struct, gc=False):
    """When an Observation was made, as far as its text tells."""

    date_time: str | None = msgspec.field(default=None, name="effectiveDateTime")
    instant: str | None = msgspec.field(default=None, name="effectiveInstant")
    period: _Period | None = msgspec.field(default=None, name="effectivePeriod")
    issued: str | None = None

    def day(self) -> date | None:
        period = (self.period.end or self.period.start) if self.period else None
        return read_day(self.date_time or self.instant or period or self.issued)


class _Made(msgspec.Struct, gc=False):
    """The same where it is a time to the second, as most are: the decoder reads that by itself."""

    date_time: datetime | None = msgspec.field(default=None, name="effectiveDateTime")


def _day_of(raw: msgspec.Raw) -> date | None:
    """When an Observation was made, to the day as it is written; None where it does not say, or cannot be read."""
    try:
        moment = _MADE.decode(raw).date_time
    except UNREADABLE:
        moment = None
    if moment is not None:
        return moment.date()
    try:
        return _DATES.decode(raw).day()
    except UNREADABLE:
        return None


class _Identified(msgspec.Struct, gc=False):
    id: str | None = None


class _Words(msgspec.Struct, gc=False):
    """What a Condition without a code is called."""

    code: dict[str, Any] | None = None


def _identifier(raw: msgspec.Raw) -> str | None:
    try:
        return _IDENTIFIED.decode(raw).id
    except UNREADABLE:
        return None


_IDENTIFIED = msgspec.json.Decoder(_Identified)
_WORDS = msgspec.json.Decoder(_Words)
_HEAD = msgspec.json.Decoder(ResourceHead)
_DATES = msgspec.json.Decoder(_Dates)
_MADE = msgspec.json.Decoder(_Made)


class Patient(msgspec.Struct, frozen=True):
    age: Interval | None
    sex: str | None
    deceased: bool = False


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was in the data and is not evidence, counted."""

    other_patient: int = 0
    outdated: int = 0
    future: int = 0
    unreadable: int = 0


class Resolved(msgspec.Struct, frozen=True, gc=False):
    """What is held of a finding after weighing all assertions: the newest wins, a contradiction is unknown."""

    value: Value | When
    assertion: Assertion | None
    contradictory: bool = False


_NOTHING_KNOWN = Resolved(None, None)


class Case(msgspec.Struct, frozen=True):
    """One patient's chart, as far as the knowledge reads it."""

    patient: Patient
    now: datetime
    assertions: Mapping[str, tuple[Assertion, ...]]
    data: Mapping[str, str]
    # The prefetch keys of which nothing, or not all, arrived.
    lacking: frozenset[str]
    # The types of the resources that are the patient's own.
    kinds: frozenset[str]
    left_out: LeftOut
    findings: Mapping[str, Finding]
    # What follows from findings, and which of them is the onset.
    derived: Derived
    onset: str
    # By what imaging is asked for; see engine.ImagingRoles.
    asked_for_by: tuple[frozenset[str], ...]
    # What was read of the chart in full, as it came.
    resources: tuple[msgspec.Raw, ...]
    # Medicines that may be taken, and allergies that may be to a medicine, of which nothing could be read.
    unrecognised: tuple[Unrecognised, ...] = ()
    # The sides of this pain where they are to stay as they were; see answered.
    fixed_sides: tuple[str, ...] = ()

    def answered(self, answers: Mapping[str, Value]) -> Case:
        """This case, in which these findings are stated now for the whole of this pain; of a date, the days since."""
        sides = self.sides()
        side = sides[0] if len(sides) == 1 else BILATERAL
        patient, assertions = self.patient, dict(self.assertions)
        now = When(self.now, self.now, self.now.date().isoformat())
        for finding, value in answers.items():
            if finding not in self.findings:
                # The age is asked for and is no finding.
                patient = msgspec.structs.replace(patient, age=value if isinstance(value, Interval) else patient.age)
                continue
            if isinstance(value, str):
                raise TypeError(finding)
            said: bool | Interval | When | None = value
            if self.findings[finding].value == "date" and isinstance(value, Interval):
                day = self.now - timedelta(days=value.low)
                said = When(day, day, day.date().isoformat())
            whole = self.findings[finding].whole_patient or isinstance(said, When)
            assertions[finding] = (Assertion(finding, said, NO_SIDE if whole else side, now, _ANSWERED),)
        return msgspec.structs.replace(self, patient=patient, assertions=assertions, fixed_sides=sides)

    def began(self, side: str) -> datetime | None:
        """When this episode began on a side; see began."""
        return began(self.assertions, side, self.onset, self.asked_for_by)

    def lacks(self, kinds: Collection[str] = COMPLAINT) -> bool:
        """Whether anything of these kinds of data did not arrive in full."""
        return any(kind_of(key) in kinds for key in self.lacking)

    def is_left_out(self) -> bool:
        """Whether nothing came but what could not be used: of another patient, of a day to come, unreadable."""
        if any(self.findings[name].kind not in ("medication", "allergy") for name in self.assertions):
            return False
        elsewhere = self.left_out.other_patient + self.left_out.unreadable
        return self.left_out.future > 0 or (elsewhere > 0 and self.kinds.isdisjoint(_OF_FINDINGS))

    def knows(self, findings: Set[str]) -> bool:
        """Whether a value of any of these findings is stated."""
        return any(name in findings and s.value is not None for name, found in self.assertions.items() for s in found)

    def not_readable(self) -> Iterator[Assertion | Unrecognised]:
        """Of each finding that is recorded and cannot be read, the newest such assertion that no later one answers;
        then the medicines and allergies of which nothing could be read.
        """
        # Each of them was counted when it was read.
        for name, found in self.assertions.items() if self.left_out.unreadable else ():
            if any(assertion.unreadable for assertion in found):
                yield from (assertion for assertion in self.unread([name]) if assertion.unreadable)
        yield from self.unrecognised

    def unread(self, names: Iterable[str]) -> Iterator[Assertion]:
        """Of each of these findings the newest assertion, where its value cannot be used and no later one can."""
        for name in names:
            if not (found := self.assertions.get(name)):
                continue
            if not (unused := [assertion for assertion in found if assertion.value is None]):
                continue
            known = resolve(found).assertion
            later = [
                assertion
                for assertion in unused
                if not (known and known.when and assertion.when and assertion.when.high < known.when.low)
            ]
            # One without a date may be the newest.
            yield from sorted(later, key=lambda each: (each.when is None, each.when and each.when.high))[-1:]

    def sides(self) -> tuple[str, ...]:
        """The sides of this pain that are documented: none (''), one, bilateral, or left and right apart."""
        if self.fixed_sides:
            return self.fixed_sides
        stated = [
            assertion
            for name, found in self.assertions.items()
            if not ((of := self.findings[name]).whole_patient or of.is_context or of.ignore_side)
            for assertion in found
            if assertion.side and assertion.value is not None
        ]
        present = {assertion.side for assertion in stated if assertion.value is not False}
        every = {assertion.side for assertion in stated}
        if {LEFT, RIGHT} <= present or (BILATERAL in present and len(every) > 1):
            return (LEFT, RIGHT)
        if present:
            return (next(iter(present)),)
        # Only normal findings have a side: on one side, it is the side that was examined for this pain.
        return tuple(every) if len(every) == 1 else (NO_SIDE,)

    def resolve(self, finding: str, side: str, *, with_sideless: bool) -> Resolved:
        """What holds of the finding on this side; with NO_SIDE, whatever the side."""
        found = self.assertions.get(finding)
        if found is None:
            return _NOTHING_KNOWN
        if side == BILATERAL and self.findings[finding].bilateral_if_either:
            return self.on_either_side(finding)
        # Most are stated once.
        if len(found) == 1 and with_sideless and (only := found[0]).value is not None and only.side in (NO_SIDE, side):
            return Resolved(only.value, only)
        if side != NO_SIDE and not self.findings[finding].whole_patient:
            return resolve([s for s in found if s.side in (side, BILATERAL) or (not s.side and with_sideless)])
        return resolve(found)

    def on_either_side(self, finding: str) -> Resolved:
        """What holds of the finding wherever it is: present as soon as it is on one side."""
        if finding not in self.assertions:
            return _NOTHING_KNOWN
        held = [self.resolve(finding, side, with_sideless=True) for side in (LEFT, RIGHT)]
        return next((of for of in held if of.value is True), held[0])


def resolve(candidates: Iterable[Assertion]) -> Resolved:
    """The newest assertion wins; assertions that disagree and cannot be put in order make the finding unknown."""
    known = [assertion for assertion in candidates if assertion.value is not None]
    if not known:
        return _NOTHING_KNOWN
    if len(known) == 1:
        return Resolved(known[0].value, known[0])
    dated = [assertion for assertion in known if assertion.when is not None]
    newest = max(dated, key=_said_last) if dated else known[0]
    rivals = [
        assertion
        for assertion in known
        if assertion.value != newest.value
        and (assertion.when is None or newest.when is None or assertion.when.overlaps(newest.when))
    ]
    if not rivals:
        return Resolved(newest.value, newest)
    if isinstance(newest.value, bool):
        return Resolved(None, newest, contradictory=True)
    return Resolved(_hull([newest, *rivals]), newest)


def began(
    assertions: Mapping[str, Sequence[Assertion]], side: str, onset: str, asked_for_by: Iterable[frozenset[str]]
) -> datetime | None:
    """When this episode began on a side, NO_SIDE for either: the latest onset or injury; otherwise, of what imaging is
    asked for by, the day on which it was first documented. That it is written down again begins nothing anew.
    """

    def here(name: str) -> list[Assertion]:
        of = assertions.get(name, ())
        return [each for each in of if not side or each.side in (side, BILATERAL, NO_SIDE)]

    onsets = [each.value for each in here(onset) if isinstance(each.value, When)]
    if onsets:
        return max(onsets, key=lambda when: when.high).low
    for group in asked_for_by:
        present = {name: [each.when for each in here(name) if each.value is True] for name in sorted(group)}
        # Of what has no date nobody can tell when it was first there.
        first = [min(when.low for when in of if when) for of in present.values() if of and all(of)]
        if first:
            return max(first)
    return None


def _said_last(assertion: Assertion) -> datetime:
    return assertion.when.high if assertion.when else datetime.min.replace(tzinfo=UTC)


def _hull(assertions: list[Assertion]) -> Interval | None:
    """Measurements of one day that differ: the span that they cover."""
    spans = [assertion.value for assertion in assertions if isinstance(assertion.value, Interval)]
    return Interval(min(s.low for s in spans), max(s.high for s in spans)) if spans else None


class CaseReader:
    """Reads cases for one body of knowledge; made once."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._findings, self._derived = knowledge.findings, knowledge.engine.derived
        self._imaging = knowledge.engine.imaging
        # A long chart repeats these hundreds of times, and of each only the newest of each side is used.
        self.repeated = frozenset(
            f.id
            for f in knowledge.findings.values()
            if f.value == "quantity" and (f.kind == "measurement" or not f.whole_patient)
        )
        self.index = CodeIndex(knowledge)

    def read(self, chart: ReceivedChart, now: datetime, sought: frozenset[str] | None = None) -> Case:
        """The case that a chart makes at a time in UTC.

        With findings that are `sought`, a chart that states none of them is read no further: most charts have nothing
        to do with this pain, and then nothing that goes with it matters either. The heads of its Bundles are let go of.

        Raises PreconditionFailed when the patient can be had from nowhere, and when a search brought nothing but
        another patient's resources.
        """
        reading = _Reading(self.index, self.repeated, chart, now, sought)
        for value in chart.prefetch.values():
            if value.resources:
                reading.take(value)
            # That of the Patient or the Encounter is looked at again.
            if len(value.heads) > 1:
                value.let_go_of_heads()
        reading.read_known()
        reading.leave_out_foreign()
        reading.leave_out_earlier_imaging(self._imaging)
        reading.require(chart.prefetch)
        return Case(
            patient=reading.patient(),
            now=now,
            assertions={name: tuple(found) for name, found in reading.assertions.items()},
            data={key: str(value.state) for key, value in chart.prefetch.items()},
            lacking=lacking(chart.prefetch),
            kinds=frozenset(reading.kinds),
            left_out=LeftOut(**reading.left_out),
            findings=self._findings,
            derived=self._derived,
            onset=self.index.onset,
            asked_for_by=self._imaging.asked_for_by,
            resources=tuple(raw for _kind, raw in reading.read) if reading.matters else (),
            unrecognised=tuple(reading.unrecognised),
        )

    def needed(
        self, patient_id: str, resources: Sequence[msgspec.Raw], heads: Sequence[ResourceHead], now: datetime
    ) -> tuple[Set[int], Unneeded]:
        """The places of those among a patient's own resources that `read` would look into, and what the others say.

        What is left of a chart without the others is read as the whole of it is; see ReceivedChart.unneeded.
        """
        reading = _Reading(self.index, self.repeated, ReceivedChart(patient_id, {}), now, None)
        reading.take(PrefetchValue("", PrefetchState.SUPPLIED, resources, heads=tuple(heads)))
        taken = (reading.known, *reading.measured.values())
        places = {place for among in taken for _kind, _resources, place in among}
        return places, Unneeded(reading.understood, reading.foreign, frozenset(reading.kinds))


def _head(raw: msgspec.Raw) -> ResourceHead | None:
    try:
        return _HEAD.decode(raw)
    except UNREADABLE:
        return None


# The type of a resource, and where it is: among which resources, at which place.
_Place = tuple[str, Sequence[msgspec.Raw], int]


class _Reading:
    """The state of reading one chart."""

    def __init__(
        self,
        index: CodeIndex,
        repeated: frozenset[str],
        chart: ReceivedChart,
        now: datetime,
        sought: frozenset[str] | None,
    ) -> None:
        self.index, self.findings, self.now = index, index.findings, now
        self.patient_id, self.names = chart.patient_id, PatientNames(chart)
        self.prefetch, self.encounter_id = chart.prefetch, chart.encounter_id
        self.repeated, self.sought = repeated, sought or frozenset()
        self.tomorrow, self.today = now + _A_DAY, now.toordinal()
        # What has a known code, or is of a kind that is read whatever its code, in the order in which it came.
        self.known: list[_Place] = []
        # Of these, what is read in full.
        self.read: list[tuple[str, msgspec.Raw]] = []
        # Observations of one repeated measurement and of nothing else.
        self.measured: dict[str, list[_Place]] = {}
        self.matters = sought is None
        self.assertions: dict[str, list[Assertion]] = {}
        self.left_out = {"other_patient": 0, "outdated": 0, "future": 0, "unreadable": 0}
        self.patients: list[dict[str, Any]] = []
        # The patient of the context, among these.
        self.own: dict[str, Any] = {}
        self.medications: dict[str, dict[str, Any]] = {}
        # Medicines whose Medication may come later in the Bundle, or in another key.
        self.waiting: list[dict[str, Any]] = []
        self.unrecognised: list[Unrecognised] = []
        self.kinds: set[str] = {*chart.unneeded.kinds}
        # Whether an Observation or a Condition has a code of a system that the knowledge has codes of, and how many
        # have none until then.
        self.understood, self.foreign = chart.unneeded.understood, chart.unneeded.foreign
        # What was decoded whole because an element of it has the wrong type.
        self.salvaged: list[dict[str, Any]] = []
        self.reading = Reading(index, None, now, self.medications)

    def take(self, value: PrefetchValue) -> None:
        """Every resource of one prefetch key."""
        lookup = self.index.lookup
        others = 0
        own, kinds = "", set()
        for place, head in enumerate(value.heads or map(_head, value.resources)):
            if head is None:
                others += self._take_whole(value.resources[place])
                continue
            kind = head.kind
            if kind not in _TYPES:
                continue
            owner = head.subject or head.patient
            # A chart repeats the patient on every line.
            if owner is not None and (reference := owner.reference) is not None and reference != own:
                if not self.names.means(reference):
                    others += 1
                    continue
                own = reference
            kinds.add(kind)
            if kind in _BY_CODE:
                rows: tuple[Code, ...] = ()
                for coding in (head.code.coding or ()) if head.code is not None else ():
                    rows += lookup(coding.system, coding.code)
                if head.answer is not None or head.component is not None:
                    rows += _known_within(head, lookup)
                if rows:
                    self._take_known(kind, rows, (kind, value.resources, place))
                # Most charts have a code of a known system in their first resource.
                elif not self.understood or (kind == "Condition" and _has_no_code(head)):
                    self._take_unknown(head, (kind, value.resources, place))
            else:
                self.matters = self.matters or kind == "QuestionnaireResponse"
                self.known.append((kind, value.resources, place))
        self.kinds |= kinds
        self.left_out["other_patient"] += others
        if others and others == len(value.resources):
            raise PreconditionFailed(
                f"prefetch.{value.key}: expected resources of the patient in context.patientId, received resources of "
                "another patient only. Check the query that filled this key.",
                expression=f"prefetch.{value.key}",
            )

    def _is_of_known_system(self, head: ResourceHead) -> bool:
        """Whether an Observation, its components or a Condition has a code of a system that the knowledge knows."""
        concepts = (head.code, *(component.code for component in head.component or ()))
        given = (coding for concept in concepts if concept for coding in concept.coding or ())
        return any(coding.system and self.index.knows(coding.system) for coding in given)

    def _take_unknown(self, head: ResourceHead, at: _Place) -> None:
        """An Observation or a Condition without a code that is known; a Condition may be by its words."""
        self.understood = self.understood or self._is_of_known_system(head)
        self.foreign += not self.understood
        if head.kind != "Condition" or not _has_no_code(head):
            return
        kind, among, place = at
        try:
            rows = tuple(self.index.complaints_in_words(_WORDS.decode(among[place]).code))
        except UNREADABLE:
            return
        if rows:
            self._take_known(kind, rows, at)

    def _take_known(self, kind: str, rows: tuple[Code, ...], at: _Place) -> None:
        """An Observation or Condition of which a rule can use something."""
        self.understood = True
        self.matters = self.matters or not self.sought.isdisjoint([row.concept for row in rows])
        concept = rows[0].concept
        is_one = len(rows) == 1 or all(row.concept == concept for row in rows)
        if is_one and kind == "Observation" and concept in self.repeated:
            self.measured.setdefault(concept, []).append(at)
        else:
            self.known.append(at)

    def read_known(self) -> None:
        """Reads what was taken, unless nothing of it matters without what is sought."""
        if not self.matters and self._nothing_more():
            head = self.prefetch[PATIENT].heads[0]
            self.own = {"id": head.id, "birthDate": head.birth_date, "gender": head.gender}
            self.reading = self._reading_of(self.own)
            return
        encounter = self._encounter_in_context()
        given = list(reasons(encounter, self.reading))
        self.matters = self.matters or "contained" in encounter or any(one.finding in self.sought for one in given)
        known = [(kind, among[place]) for kind, among, place in self.known if self.matters or kind == "Patient"]
        self.read = known
        found = self._read_each(known)
        self.patients = [one for one in found if isinstance(one, dict) and one["resourceType"] == "Patient"]
        self.own = next((one for one in self.patients if one.get("id") in (self.patient_id, None)), {})
        self.reading = self._reading_of(self.own)
        for one in found:
            if isinstance(one, PlainObservation):
                self._keep(read_plain(one, self.reading))
            else:
                self._read_whole(one)
        for concept, measured in self.measured.items() if self.matters else ():
            self._read_newest(concept, [among[place] for _kind, among, place in measured])
        if self.matters and encounter:
            by_name = cache(lambda: {f"{kind}/{_identifier(raw)}": raw for kind, raw in known})
            self._keep((*given, *reasons_referred_to(encounter, self.reading, partial(self._find, by_name))))

    def _reading_of(self, patient: Mapping[str, Any]) -> Reading:
        return Reading(self.index, read_when(patient.get("birthDate")), self.now, self.medications)

    def _nothing_more(self) -> bool:
        """Whether it is known without reading them whole that nothing matters in the Patient and the Encounter."""
        if sum(kind == "Patient" for kind, *_place in self.known) != 1 or not self._is_told(PATIENT, self.patient_id):
            return False
        visit = self.prefetch.get(ENCOUNTER) if self.encounter_id else None
        return visit is None or not visit.resources or self._is_told(ENCOUNTER, self.encounter_id)

    def _is_told(self, key: str, id_: str) -> bool:
        """Whether a key has this resource of the patient alone, of which the head tells all that matters."""
        value = self.prefetch.get(key)
        head = value.heads[0] if value and len(value.heads) == 1 else None
        if not isinstance(head, SoleHead) or head.id != id_ or head.has_more():
            return False
        of = head.subject or head.patient
        return of is None or bool(of.reference and self.names.means(of.reference))

    def _read_each(self, known: Sequence[tuple[str, msgspec.Raw]]) -> list[PlainObservation | dict[str, Any]]:
        """These resources, given with their types, and the salvaged ones, without older versions of one of them."""
        found = [(kind == "Observation" and plain_observation(raw)) or self._decoded(raw) for kind, raw in known]
        read = [one for one in (*found, *self.salvaged) if one]
        plain = [one.id for one in read if isinstance(one, PlainObservation)]
        whole = [one for one in read if isinstance(one, dict)]
        if not plain:
            return [*current(whole)]
        observed = [as_text(one.get("id")) for one in whole if one["resourceType"] == "Observation"]
        if len({*plain}) == len(plain) and not {*plain}.intersection(observed):
            return read
        resources = [decoded(raw) for _kind, raw in known]
        return [*current([*filter(None, resources), *self.salvaged])]

    def _encounter_in_context(self) -> dict[str, Any]:
        """The Encounter of the context, where it is the patient's; another one says nothing of this visit."""
        value = self.prefetch.get(ENCOUNTER)
        for raw in value.resources if value and self.encounter_id else ():
            if _identifier(raw) != self.encounter_id:
                continue
            encounter = self._decoded(raw)
            owner = self.names.whose(encounter)
            if owner is Owner.OWN:
                return encounter
            self.left_out["other_patient" if owner is Owner.OTHER else "unreadable"] += 1
        return {}

    def _find(self, by_name: Callable[[], Mapping[str, msgspec.Raw]], reference: str) -> dict[str, Any]:
        """The patient's own resource that a reference names, among those that were read."""
        kind, _, identifier = reference.partition("/_history/")[0].rpartition("/")
        name = f"{kind.rpartition('/')[2]}/{identifier}"
        if name not in by_name():
            urls = {url: of for value in self.prefetch.values() for url, of in full_urls(value)}
            name = "/".join(urls.get(reference, ()))
        found = decoded(by_name()[name]) if name in by_name() else {}
        return found if found and self.names.whose(found) is Owner.OWN else {}

    def leave_out_foreign(self) -> None:
        """Where no Observation or Condition has a code of a system that the knowledge has codes of, none can be read:
        such a chart tells of this pain neither way, and is not to look as if it did.
        """
        read = {kind for kind, _among, _place in self.known}
        if self.foreign and not self.understood and not self.salvaged and read.isdisjoint(_OF_FINDINGS):
            self.left_out["unreadable"] += self.foreign
            self.kinds -= _BY_CODE

    def leave_out_earlier_imaging(self, imaging: ImagingRoles) -> None:
        """What imaging showed before this episode began is history: it answers no question of today."""
        for name in imaging.results & self.assertions.keys():
            counts = []
            for one in self.assertions[name]:
                start = began(self.assertions, one.side, self.index.onset, imaging.asked_for_by)
                earlier = start is not None and one.when is not None and one.when.high.date() < start.date()
                self.left_out["outdated"] += earlier
                if not earlier:
                    counts.append(one)
            if counts:
                self.assertions[name] = counts
            else:
                del self.assertions[name]

    def _decoded(self, raw: msgspec.Raw) -> dict[str, Any]:
        resource = decoded(raw)
        self.left_out["unreadable"] += not resource
        return resource

    def _read_newest(self, concept: str, found: Iterable[msgspec.Raw]) -> None:
        """Of a repeated measurement, what can be the newest value, or weigh against it; see resolve."""
        look_back, whole_patient = self.findings[concept].look_back_days, self.findings[concept].whole_patient
        oldest = date.min if look_back is None else self.now.date() - timedelta(days=look_back + 1)
        days: list[tuple[date, msgspec.Raw]] = []
        undated: list[msgspec.Raw] = []
        for raw in found:
            day = _day_of(raw)
            if day is None:
                undated.append(raw)
            elif day < oldest:
                self.left_out["outdated"] += 1
            else:
                days.append((day, raw))
        newest_day, read = date.min, 0
        groups = groupby(sorted(days, key=itemgetter(0), reverse=True), key=itemgetter(0))
        for day, of_day in ((date.max, undated), *((day, [raw for _day, raw in group]) for day, group in groups)):
            # As it is written, a day is within a day of UTC. What has sides has a newest value of each.
            if whole_patient and newest_day - day > _A_DAY:
                break
            for resource in current([resource for raw in of_day if (resource := self._decoded(raw))]):
                self._read_whole(resource)
            stated = self.assertions.get(concept, [])
            known = (s.when.low.date() for s in stated[read:] if s.when and s.value is not None)
            newest_day = max(newest_day, *known, newest_day)
            read = len(stated)

    def _take_whole(self, raw: msgspec.Raw) -> int:
        """A resource with an element of the wrong type: 1 when it is another patient's, else 0."""
        resource = self._decoded(raw)
        kind = as_text(resource.get("resourceType"))
        if kind not in _TYPES:
            return 0
        owner = self.names.whose(resource)
        if owner is Owner.OTHER:
            return 1
        if owner is Owner.UNREADABLE:
            self.left_out["unreadable"] += 1
            return 0
        self.kinds.add(kind)
        self.matters = True
        # Of a code that is none nobody can tell what it would have said.
        self.left_out["unreadable"] += kind in _BY_CODE and not any(written_in(resource.get("code")))
        self.salvaged.append(resource)
        return 0

    def _read_whole(self, resource: dict[str, Any]) -> None:
        kind = resource["resourceType"]
        if kind == "Patient":
            return
        owner = self.names.whose(resource)
        if owner is not Owner.OWN:
            self.left_out["other_patient" if owner is Owner.OTHER else "unreadable"] += 1
        elif kind == "Medication":
            self.medications[as_text(resource.get("id"))] = resource
        elif kind.startswith("Medication"):
            self.waiting.append(resource)
        else:
            self._assert(resource)

    def _assert(self, resource: dict[str, Any]) -> None:
        self._keep(_READERS[resource["resourceType"]](resource, self.reading))

    def _keep(self, found: Iterable[Assertion | Unrecognised]) -> None:
        for read in found:
            if isinstance(read, Unrecognised):
                self.left_out["unreadable"] += 1
                self.unrecognised.append(read)
            elif self._counts(read):
                if read.unreadable:
                    self.left_out["unreadable"] += 1
                self.assertions.setdefault(read.finding, []).append(read)

    def _counts(self, assertion: Assertion) -> bool:
        """Whether a assertion is evidence now: not from the future, not past, not older than its look-back."""
        finding = self.findings[assertion.finding]
        if assertion.past and not finding.past_counts:
            self.left_out["outdated"] += 1
            return False
        when = assertion.when
        # Nothing is stated on a day to come, nor has it begun on one.
        value = assertion.value
        if (when and when.low > self.tomorrow) or (isinstance(value, When) and value.low > self.tomorrow):
            self.left_out["future"] += 1
            return False
        if when is None:
            return True
        if finding.look_back_days is None or (assertion.standing and not finding.dated_event):
            return True
        if self.today - when.high.toordinal() > finding.look_back_days:
            self.left_out["outdated"] += 1
            return False
        return True

    def require(self, prefetch: Mapping[str, PrefetchValue]) -> None:
        """What the service cannot do without is there; then what waited is read."""
        if not self.own:
            raise patient_missing(prefetch, others=bool(self.patients))
        if self.waiting:
            named = {url: identifier for value in prefetch.values() for url, (_kind, identifier) in full_urls(value)}
            self.medications |= {url: self.medications[of] for url, of in named.items() if of in self.medications}
        for resource in self.waiting:
            self._assert(resource)

    def patient(self) -> Patient:
        resource, born = self.own, self.reading.born
        sex = resource.get("gender")
        return Patient(
            age=Interval(*map(float, years_old(born, self.now))) if born and born.low <= self.now else None,
            sex=sex if sex in ("female", "male") else None,
            deceased=is_deceased(resource),
        )


def _has_no_code(head: ResourceHead) -> bool:
    """Whether it has a CodeableConcept, and no code in it."""
    return head.code is not None and not [each for each in head.code.coding or () if each.code]


def _known_within(head: ResourceHead, lookup: Callable[[str | None, str | None], tuple[Code, ...]]) -> tuple[Code, ...]:
    """What the codes within an Observation are known as, those of its answer and of its components."""
    rows: tuple[Code, ...] = ()
    concepts = [head.answer]
    for component in head.component or ():
        concepts += (component.code, component.answer)
    for concept in concepts:
        for coding in (concept.coding or ()) if concept else ():
            rows += lookup(coding.system, coding.code)
    return rows


_OBSERVED = "Observation?patient={{context.patientId}}"
# By the statuses that are read as present, drafts apart, and by no intent: an order of intent `plan` is a medicine that
# the patient reports (US Core).
_PRESCRIBED = "MedicationRequest?patient={{context.patientId}}&status=active,on-hold,unknown"
_REPORTED = "MedicationStatement?patient={{context.patientId}}&status=active,intended,on-hold,unknown"


def prefetch_templates(knowledge: Knowledge) -> dict[str, str]:
    """The prefetch templates for what the rules of the knowledge read, and for nothing more.

    Observations are asked for by code: the codes of the findings, and the ids of the local code system.
    """
    read = knowledge.base_findings(
        name
        for names in (
            *(condition.findings() for condition in knowledge.recommendation_conditions()),
            knowledge.differential.findings(),
            [finding.id for finding in knowledge.findings.values() if finding.defines_complaint],
        )
        for name in names
    )
    # A date that states one of them in its place.
    read |= {finding.id for finding in knowledge.findings.values() if finding.due and finding.due.present in read}
    kinds = {knowledge.findings[name].kind for name in read}
    observable = {name for name in read if knowledge.findings[name].kind not in ("medication", "allergy")}
    # LA… are LOINC answers, which are no code of an Observation; a question's answer may be a finding.
    codes = [
        code.code
        for code in (*knowledge.codes, *(answer for answer in knowledge.answers if answer.concept == "question"))
        if (code.concept in observable or code.concept == "question")
        and code.system in (SYSTEMS["loinc"], SYSTEMS["sct"])
        and not code.code.startswith("LA")
    ]
    observed = dict.fromkeys((*codes, *(name for name in knowledge.findings if name in observable)))
    # In this order they are asked for: first what decides.
    templates = {
        PATIENT: "Patient/{{context.patientId}}",
        CONDITIONS: "Condition?patient={{context.patientId}}",
        **split_search(OBSERVATIONS, _OBSERVED, observed),
        ENCOUNTER: "Encounter/{{context.encounterId}}",
        QUESTIONNAIRE_RESPONSES: "QuestionnaireResponse?patient={{context.patientId}}",
    }
    if "medication" in kinds:
        templates |= {MEDICATIONS: _PRESCRIBED, MEDICATION_STATEMENTS: _REPORTED}
    if "allergy" in kinds:
        templates[ALLERGIES] = "AllergyIntolerance?patient={{context.patientId}}"
    return templates
