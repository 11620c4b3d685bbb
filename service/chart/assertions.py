"""One FHIR resource -> what it asserts about findings: present, absent, unknown, or recorded and not readable.

Nothing here knows a rule. How each element is read stands in elements.py, what codes mean in codes.py; here stands in
which shapes a finding may arrive: a code with a value, a question with the finding as its answer, a component, a
Condition. Medicines and allergies, questionnaires and the encounter have modules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Literal

import msgspec
import orjson

from service.chart.codes import Answer, CodeIndex, Question, answer_in_words
from service.chart.elements import (
    EFFECTIVE,
    NO_DATE,
    NO_SIDE,
    RECORDED,
    UNREADABLE_DATE,
    Dated,
    Given,
    NoValue,
    as_dict,
    as_list,
    changed_by,
    codings,
    dated,
    decoded,
    each,
    moment,
    named,
    reference_to,
    statuses,
    value_of,
)
from service.chart.fhir_time import When, read_when
from service.knowledge_model.conditions import Interval
from service.knowledge_model.model import LOCAL_SYSTEM, Code, Finding
from service.knowledge_model.quantity import read_number, read_quantity
from service.knowledge_model.vocabulary import CLINICAL_KINDS

# What is to be known of how something is stated; the names by which the answer tells it.
PROVISIONAL, BY_NAME, REPORTED, BY_TEXT = "provisional", "byName", "reported", "byText"
SIDE_UNREADABLE = "sideUnreadable"
# Why a finding that is recorded cannot be read; the names of elements, as the assessment tells them.
VALUE, UNIT, DATE, QUESTION, IMPLAUSIBLE = "value", "unit", "date", "question", "implausible"
_NOT_EVIDENCE = frozenset({"entered-in-error", "cancelled", "registered"})
VOID = frozenset({"entered-in-error"})
PAST = frozenset({"inactive", "remission", "resolved"})
_TENTATIVE = frozenset({"preliminary", "provisional", "differential", "unconfirmed"})


class Assertion(msgspec.Struct, frozen=True):
    """What one resource says of one finding. value: True, False, None (unknown), an Interval, or a When for a date."""

    finding: str
    value: bool | Interval | When | None
    side: str
    when: When | None
    resource: str
    # PROVISIONAL (the chart itself says so), BY_NAME (recognised by its name, not by a code), REPORTED (a medicine that
    # is said to be taken, or planned, and is no order), BY_TEXT (recognised by its words, not by a code),
    # SIDE_UNREADABLE (it has a side that could not be read, and so counts without one).
    remarks: tuple[str, ...] = ()
    # An active Condition stands until now, however long ago it began.
    standing: bool = False
    past: bool = False
    # Why the value is None although something is recorded: VALUE, UNIT, DATE, QUESTION, IMPLAUSIBLE or the name of the
    # element that changes its meaning; empty where the value is known, or said to be unknown.
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the reading of a resource needs beside it: what codes mean, the patient's birth, the time of the call, and
    the Medications that came with the chart, by id and by full URL.
    """

    index: CodeIndex
    born: When | None
    now: datetime
    medications: Mapping[str, Mapping[str, Any]]


class ReadValue(msgspec.Struct, frozen=True):
    value: bool | Interval | When | None
    unreadable: str = ""


PRESENT, ABSENT, UNKNOWN, UNREADABLE = ReadValue(True), ReadValue(False), ReadValue(None), ReadValue(None, VALUE)
_OF_ANSWER = {Answer.YES: PRESENT, Answer.NO: ABSENT, Answer.UNKNOWN: UNKNOWN, Answer.UNREADABLE: UNREADABLE}


# ---------------------------------------------------------------------------------------------------------------------
# Values


def read_value(given: Given, finding: Finding, index: CodeIndex) -> ReadValue:
    """The value of an Observation, a component or an answer, for this finding."""
    if finding.value == "quantity":
        return _read_measure(given, finding)
    if finding.value == "date":
        when = moment(given.content) if given.kind in ("DateTime", "Date", "String", "Period") else None
        return ReadValue(when) if when else UNREADABLE
    return _OF_ANSWER[_answer(given, index)]


def _answer(given: Given, index: CodeIndex) -> Answer:
    kind, content = given
    if kind == "Boolean":
        return Answer.YES if content else Answer.NO
    if kind == "CodeableConcept":
        return index.answer(content)
    if kind == "Integer":
        return answer_in_words(str(content))
    return answer_in_words(content) if kind in ("String", "Code") else Answer.UNREADABLE


def _read_measure(given: Given, finding: Finding) -> ReadValue:
    if given.kind == "Quantity":
        measured = read_quantity(given.content, finding.unit)
        if measured is None and read_number(given.content.get("value")) is not None:
            return ReadValue(None, UNIT)
    else:
        # A bare number has no unit: sound for a score or a count only.
        bare = given.kind in ("Integer", "Decimal") and finding.unit.startswith("{")
        measured = read_number(given.content) if bare else None
    return UNREADABLE if measured is None else _measured(measured, finding)


def _measured(measured: Interval, finding: Finding) -> ReadValue:
    low, high = finding.plausible
    return ReadValue(None, IMPLAUSIBLE) if measured.high < low or measured.low > high else ReadValue(measured)


def _element_value(
    element: Mapping[str, Any], given: Given | NoValue, found: Sequence[Code], row: Code, index: CodeIndex
) -> ReadValue:
    """What an Observation or a component says of the finding that its code means; `found` is what its value is."""
    shown = _shown(element, index)
    if isinstance(given, Given):
        itself = any(answer.concept == row.concept for answer in found)
        read = PRESENT if itself else read_value(given, index.findings[row.concept], index)
        # A value and an interpretation that say the opposite of each other.
        return UNREADABLE if shown is not None and isinstance(read.value, bool) and read is not shown else read
    if given is NoValue.UNREADABLE:
        return UNREADABLE
    if index.findings[row.concept].value != "boolean" or given is NoValue.ABSENT:
        return UNKNOWN
    return shown or (PRESENT if index.asserts(row) else UNKNOWN)


def _shown(element: Mapping[str, Any], index: CodeIndex) -> ReadValue | None:
    """What the interpretation of a result says of presence; None where it tells something else, such as abnormal."""
    if "interpretation" not in element:
        return None
    shown = {index.answer(concept) for concept in each(element["interpretation"])} - {Answer.UNREADABLE}
    if len(shown) > 1:
        return UNREADABLE
    return _OF_ANSWER[shown.pop()] if shown else None


def found_in(given: Given | NoValue, index: CodeIndex) -> Sequence[Code]:
    """The findings that a coded value is itself."""
    return index.rows(given.content) if isinstance(given, Given) and given.kind == "CodeableConcept" else ()


def answered(row: Code, question: Question, shown: ReadValue | None, index: CodeIndex) -> ReadValue | None:
    """What it says of a finding that it is the answer to a question; None where the question is not about that.

    A disease among the answers is not this patient's: it may be one of the family.
    """
    if index.findings[row.concept].kind not in CLINICAL_KINDS - {"diagnosis"} and not row.code.startswith("LA"):
        return None
    if question is Question.OTHER:
        return None
    # A LOINC answer tells by itself what was asked.
    if question is Question.UNKNOWN and not row.code.startswith("LA"):
        return ReadValue(None, QUESTION)
    if shown is not None and shown is not PRESENT:
        return shown
    return ABSENT if question is Question.DENIES else PRESENT


# ---------------------------------------------------------------------------------------------------------------------
# Resources


class Source(msgspec.Struct, frozen=True):
    """What all assertions of one resource have in common."""

    reading: Reading
    reference: str
    time: Dated
    remarks: tuple[str, ...] = ()
    # The element that changes the meaning of the whole resource, if there is one.
    changed: str = ""
    standing: bool = False
    past: bool = False

    def asserts(self, finding: str, value: ReadValue, side: str = NO_SIDE, time: Dated | None = None) -> Assertion:
        """An assertion of this resource. What has a date that cannot be read may be of any time: where the age of a
        finding decides whether it counts, it is then not readable.
        """
        time = time or self.time
        held = self.reading.index.findings[finding]
        ages = held.look_back_days is not None and (held.dated_event or not self.standing)
        unreadable = self.changed or value.unreadable or (DATE if time.unreadable and ages else "")
        return Assertion(
            finding,
            None if unreadable else value.value,
            side,
            time.when,
            self.reference,
            self.remarks,
            self.standing,
            self.past,
            unreadable,
        )

    def states(self, finding: str, value: ReadValue, side: str = NO_SIDE) -> tuple[Assertion, ...]:
        """What it says of a finding; in place of a date that lies ahead, what follows from it today."""
        due = self.reading.index.findings[finding].due
        if due is None:
            return (self.asserts(finding, value, side),)
        if not isinstance(value.value, When):
            return (self.asserts(due.present, value, side),)
        today = self.reading.now.toordinal()
        # Days beyond it: fewer than none while it lies ahead.
        least, most = today - value.value.high.toordinal(), today - value.value.low.toordinal()
        if least > due.days_after:
            return ()
        low, high = (due.weeks_then + days / 7 for days in (least, most))
        weeks = _measured(Interval(low, high), self.reading.index.findings[due.weeks])
        return self.asserts(due.present, PRESENT, side), self.asserts(due.weeks, weeks)


def tentative(status: frozenset[str]) -> tuple[str, ...]:
    return (PROVISIONAL,) if status & _TENTATIVE else ()


class Said(msgspec.Struct, frozen=True):
    """What an Observation says of one finding, whoever it is of and whenever it was made."""

    finding: str
    value: ReadValue
    side: str


# The members of an Observation, beside those of its value, that tell what it says.
_TELLING = frozenset(
    {
        *("code", "bodySite", "component", "interpretation", "dataAbsentReason", "hasMember", "related"),
        *("modifierExtension", "implicitRules"),
    }
)
# In bytes of JSON: what is longer is read each time, so that what is remembered stays small.
_LONGEST_REMEMBERED = 2_000
_NOT_SENT = msgspec.Raw()


class _Subject(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    reference: str
    display: msgspec.Raw = _NOT_SENT
    type: msgspec.Raw = _NOT_SENT


class _Telling(msgspec.Struct, omit_defaults=True, gc=False, rename="camel"):
    """The members of an Observation that tell what it says, as they are written."""

    code: msgspec.Raw
    body_site: msgspec.Raw = _NOT_SENT
    interpretation: msgspec.Raw = _NOT_SENT
    value_boolean: msgspec.Raw = _NOT_SENT
    value_codeable_concept: msgspec.Raw = _NOT_SENT
    value_quantity: msgspec.Raw = _NOT_SENT


class PlainObservation(_Telling, forbid_unknown_fields=True, kw_only=True):
    """An Observation with the members that most have and no others; what is not read at all stays as written, too."""

    resource_type: Literal["Observation"]
    id: str
    status: str
    effective_date_time: str
    subject: _Subject
    meta: msgspec.Raw = _NOT_SENT
    text: msgspec.Raw = _NOT_SENT
    identifier: msgspec.Raw = _NOT_SENT
    category: msgspec.Raw = _NOT_SENT
    encounter: msgspec.Raw = _NOT_SENT
    issued: msgspec.Raw = _NOT_SENT
    performer: msgspec.Raw = _NOT_SENT

    def telling(self) -> bytes:
        """The members that tell what it says, as JSON."""
        values = (self.value_boolean, self.value_codeable_concept, self.value_quantity)
        return msgspec.json.encode(_Telling(self.code, self.body_site, self.interpretation, *values))


_PLAIN = msgspec.json.Decoder(PlainObservation)


def plain_observation(raw: msgspec.Raw) -> PlainObservation | None:
    """The Observation, where it is a plain one in UTF-8: what stays as it is written is not looked at."""
    try:
        str(raw, "utf-8")
        return _PLAIN.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def read_plain(plain: PlainObservation, reading: Reading) -> list[Assertion]:
    """What a plain Observation asserts: the same as one that is read whole, in half of the time."""
    when = read_when(plain.effective_date_time)
    source = Source(reading, named("Observation", plain.id), Dated(when) if when else UNREADABLE_DATE)
    return _asserted(statuses(plain.status), source, plain.telling())


def _observation(resource: Mapping[str, Any], reading: Reading) -> list[Assertion]:
    source = Source(reading, reference_to(resource), dated(resource, EFFECTIVE, ("issued",)))
    telling = {name: value for name, value in resource.items() if name in _TELLING or "value" in name}
    try:
        said: bytes | Iterator[Said] = orjson.dumps(telling)
    except TypeError:
        # Nested too deeply, or a number too large, to be written as what it was read from.
        said = _parts(telling, reading.index)
    return _asserted(statuses(resource.get("status")), source, said)


def _asserted(status: frozenset[str], source: Source, said: bytes | Iterable[Said]) -> list[Assertion]:
    """What an Observation of this status asserts; `said`: what it says, or the members that tell it as JSON."""
    if status & _NOT_EVIDENCE:
        return []
    if remarks := tentative(status):
        source = msgspec.structs.replace(source, remarks=remarks)
    if isinstance(said, bytes):
        read = _remembered if len(said) <= _LONGEST_REMEMBERED else _remembered.__wrapped__
        said = read(said, source.reading.index)
    return [assertion for one in said for assertion in source.states(one.finding, one.value, one.side)]


# Charts repeat their findings. Nothing of a patient, a visit or a time is in what is remembered.
@lru_cache(maxsize=1024)
def _remembered(written: bytes, index: CodeIndex) -> tuple[Said, ...]:
    return tuple(_parts(decoded(msgspec.Raw(written)), index))


def _parts(observation: Mapping[str, Any], index: CodeIndex) -> Iterator[Said]:
    """What an Observation and its components say."""
    sites, changed = each(observation.get("bodySite")), changed_by(observation)
    components = [as_dict(item) for item in as_list(observation.get("component"))]
    # A panel groups its parts; without a value of its own it says nothing itself.
    if not (components or _has_members(observation)) or isinstance(value_of(observation), Given):
        yield from _element(observation, sites, changed, index)
    for component in components:
        yield from _element(component, sites, changed or changed_by(component), index)


def _has_members(resource: Mapping[str, Any]) -> bool:
    """Whether it groups others: by hasMember of R4, or by `related` of DSTU2 and STU3."""
    if resource.get("hasMember"):
        return True
    return "related" in resource and any(to.get("type") == "has-member" for to in each(resource["related"]))


def _element(
    element: Mapping[str, Any], sites: Sequence[dict[str, Any]], changed: str, index: CodeIndex
) -> Iterator[Said]:
    """What an Observation or a component says by its code, and by its answer; `changed`: see Source."""
    given = value_of(element)
    code = element.get("code")
    coded, found = codings(code), found_in(given, index)
    side, at = index.place(sites, code, coded)
    worded = NO_SIDE if side else index.side_in_words(code)
    unreadable = ReadValue(None, changed) if changed else None
    for row in index.matching(coded):
        other_kind = row.system != LOCAL_SYSTEM and index.findings[row.concept].kind in ("medication", "allergy")
        if not other_kind and (not row.site or row.site in at):
            value = unreadable or _element_value(element, given, found, row, index)
            yield Said(row.concept, value, side or row.side or worded)
    if found and isinstance(given, Given):
        for one in _by_question(element, given.content, found, sites, index):
            yield msgspec.structs.replace(one, value=unreadable) if unreadable else one


def _by_question(
    element: Mapping[str, Any],
    answer: Mapping[str, Any],
    found: Sequence[Code],
    sites: Sequence[dict[str, Any]],
    index: CodeIndex,
) -> Iterator[Said]:
    """The findings that the answer to a question is itself."""
    question, shown = index.question(element.get("code")), _shown(element, index)
    asked = {row.concept for row in index.rows(element.get("code"))}
    side, at = index.place(sites, answer)
    asked_of = index.place((), element.get("code"))[0] or index.side_in_words(answer, element.get("code"))
    for row in found:
        value = answered(row, question, shown, index)
        if value is not None and row.concept not in asked and (not row.site or row.site in at):
            yield Said(row.concept, value, side or row.side or asked_of)


_ABATEMENT = ("abatementDateTime", "abatementPeriod")
# The last is what DSTU2 calls an age.
_ABATED = ("abatementAge", "abatementRange", "abatementString", "abatementBoolean", "abatementQuantity")


def _is_past(resource: Mapping[str, Any], clinical: frozenset[str], now: datetime) -> bool:
    """Whether a Condition is over: its status or its abatement tells, whatever the other says.

    FHIR R4, Condition, constraint con-4: what has abated is not active.
    """
    if clinical & PAST:
        return True
    ended = [resource[member] for member in _ABATEMENT if resource.get(member) is not None]
    if ended:
        when = moment(ended[0])
        return when is None or when.low <= now
    return any(resource.get(member) not in (None, False) for member in _ABATED)


def _condition(resource: Mapping[str, Any], reading: Reading) -> Iterator[Assertion]:
    verification, clinical = statuses(resource.get("verificationStatus")), statuses(resource.get("clinicalStatus"))
    if verification & VOID or clinical & VOID:
        return
    index, past = reading.index, _is_past(resource, clinical, reading.now)
    code = resource.get("code")
    coded = codings(code)
    side, at = index.place(each(resource.get("bodySite")), code, coded)
    worded = NO_SIDE if side else index.side_in_words(code)
    onset, recorded = _onset(resource, reading.born), dated(resource, RECORDED)
    # What is said of a Condition is as new as its record.
    said = onset if onset.when and not recorded.when else recorded
    source = Source(
        reading,
        reference_to(resource),
        said,
        tentative(verification),
        changed_by(resource),
        standing=not past,
        past=past,
    )
    present = ABSENT if "refuted" in verification else PRESENT
    rows = index.matching(coded)
    in_words = () if coded else index.complaints_in_words(code)
    if in_words:
        rows, source = in_words, msgspec.structs.replace(source, remarks=(*source.remarks, BY_TEXT))
    for row in rows:
        finding = index.findings[row.concept]
        if finding.suspicion and present is PRESENT and verification & _TENTATIVE:
            finding = index.findings[finding.suspicion]
        if (finding.kind == "medication" and row.system != LOCAL_SYSTEM) or (row.site and row.site not in at):
            continue
        value = present if finding.value == "boolean" else ReadValue(onset.when if finding.value == "date" else None)
        # An event is as old as its onset, and not as its record where the onset is there and cannot be read.
        time = (onset if onset is not NO_DATE else recorded) if finding.dated_event else said
        assertion = source.asserts(finding.id, value, side or row.side or worded, time)
        yield assertion
        of_pain = finding.defines_complaint or finding.kind == "diagnosis"
        if index.onset and onset.when and assertion.value is True and not past and of_pain:
            yield source.asserts(index.onset, ReadValue(onset.when), assertion.side)


def _onset(resource: Mapping[str, Any], born: When | None) -> Dated:
    """When a Condition began: onset[x] in every form. An age is counted from the date of birth.

    Specification: FHIR R4, Condition.onset[x].
    """
    began = dated(resource, ("onsetDateTime",))
    if began is NO_DATE and (start := as_dict(resource.get("onsetPeriod")).get("start")) is not None:
        began = dated({"onsetDateTime": start}, ("onsetDateTime",))
    if began is not NO_DATE:
        return began
    # onsetQuantity is what DSTU2 calls an age.
    age, span = resource.get("onsetAge") or resource.get("onsetQuantity"), as_dict(resource.get("onsetRange"))
    if isinstance(age, dict) or span:
        low, high = (age, age) if isinstance(age, dict) else (span.get("low"), span.get("high"))
        return _at_age(born, low, high)
    written = [member for member in resource if "onset" in member]
    told = any(member.lstrip("_").startswith("onset") and resource[member] is not None for member in written)
    return UNREADABLE_DATE if told else NO_DATE


def _at_age(born: When | None, low: object, high: object) -> Dated:
    least, most = (read_quantity(as_dict(age), "d") for age in (low, high))
    if not born or not least or not most:
        return UNREADABLE_DATE
    # Completed years: an age of 12 lasts until the thirteenth birthday.
    unit = read_quantity({**as_dict(high), "value": 1, "comparator": None}, "d") or most
    try:
        first, last = born.low + timedelta(days=least.low - 1), born.high + timedelta(days=most.high + unit.high)
    except OverflowError:
        return UNREADABLE_DATE
    return Dated(When(first, last, str(first.year)))


READERS: Mapping[str, Callable[[Mapping[str, Any], Reading], Iterable[Assertion]]] = {
    "Observation": _observation,
    "Condition": _condition,
}
