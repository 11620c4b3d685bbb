"""How each FHIR element is read, for every resource type that uses it. No patient, no clock and no knowledge here.

Findings, forms, orders, draft orders, medicines, allergies and studies read their elements with these functions alone,
so that no reader knows less than another. What is read is tolerant of how servers write it; what cannot be read is told
apart from what is not there, because only the second may be taken for silence.
Specification: FHIR R4, Data Types; Resource (implicitRules); Extensibility (modifierExtension); Using SNOMED CT.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from enum import Enum
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from service.chart.fhir_time import When, read_when
from service.knowledge_model.vocabulary import SYSTEMS
from service.remembered import Remembered

SCT, LOINC, ICD, RXNORM = (SYSTEMS[name] for name in ("sct", "loinc", "icd10cm", "rxnorm"))
Coding = tuple[str, str]
# Specification: the data type id of FHIR R4.
FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")


def as_dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def each(value: object) -> list[dict[str, Any]]:
    """The objects of a member that some send as one object and some as an array."""
    if value is None:
        return []
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]


def reference_to(resource: Mapping[str, Any]) -> str:
    """Type/id of a resource; see named."""
    return named(as_text(resource.get("resourceType")), as_text(resource.get("id")))


def named(kind: str, identifier: str) -> str:
    """Type/id, as a card may print it: an id that is no FHIR id is not repeated."""
    return f"{kind}/{identifier}" if FHIR_ID.fullmatch(identifier) else kind


# ---------------------------------------------------------------------------------------------------------------------
# Code systems and codings

_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
YES_NO, EXPANDED_YES_NO, FLAGS, INTERPRETATION, NULL_FLAVOR, DATA_ABSENT_REASON = (
    _TERMINOLOGY + name
    for name in (
        *("v2-0136", "v2-0532", "v2-0078", "v3-ObservationInterpretation", "v3-NullFlavor", "data-absent-reason"),
    )
)
# International Patient Summary, code system "Absent and Unknown Data": every code of it says that there is nothing.
ABSENT_OR_UNKNOWN = "http://hl7.org/fhir/uv/ips/CodeSystem/absent-unknown-uv-ips"
# Object identifiers, as the HL7 OID registry has them, and the names of HL7 v2 table 0396.
_OTHER_NAMES: Final = {
    "2.16.840.1.113883.6.96": SCT,
    "2.16.840.1.113883.6.1": LOINC,
    "2.16.840.1.113883.6.90": ICD,
    "2.16.840.1.113883.6.88": RXNORM,
    "2.16.840.1.113883.12.136": YES_NO,
    "2.16.840.1.113883.12.532": EXPANDED_YES_NO,
    "2.16.840.1.113883.12.78": FLAGS,
    "2.16.840.1.113883.5.83": INTERPRETATION,
    "2.16.840.1.113883.5.1008": NULL_FLAVOR,
    "2.16.840.1.113883.4.642.1.1048": DATA_ABSENT_REASON,
    "2.16.840.1.113883.5.1150.1": ABSENT_OR_UNKNOWN,
    "sct": SCT,
    "snomed": SCT,
    "snomed-ct": SCT,
    "snomed ct": SCT,
    "ln": LOINC,
    "loinc": LOINC,
    "rxnorm": RXNORM,
    # What version 2 messages call ICD-10 is its clinical modification in the United States, and the categories that the
    # knowledge lists mean the same in both.
    "i10": ICD,
    "i10c": ICD,
    "icd10": ICD,
    "icd-10": ICD,
    "icd10cm": ICD,
    "icd-10-cm": ICD,
    "hl7.org/fhir/data-absent-reason": DATA_ABSENT_REASON,
}
_ADDRESSES: Final = {url.removeprefix("http://").removeprefix("www."): url for url in (SCT, LOINC, ICD, RXNORM)}
_STU3_TABLE = re.compile(r"hl7\.org/fhir/(v[23])/([a-z0-9-]+)")
_V3_NAMES = {name.rpartition("v3-")[2].lower(): name for name in (INTERPRETATION, NULL_FLAVOR)}


@lru_cache(maxsize=1024)
def system_of(written: str) -> str:
    """The canonical URL of a code system that is known, however it is written; another as it is written.

    A version behind `|`, an edition of SNOMED CT, `https`, a trailing slash, blanks, `urn:oid:` and a bare object
    identifier all name the same system. Specification: FHIR R4, Terminologies, Code Systems; Using SNOMED CT.
    """
    plain = written.strip().partition("|")[0].rstrip("/")
    name = re.sub(r"^(?:urn:oid:|https?://(?:www\.)?)", "", plain.lower())
    if name in _OTHER_NAMES:
        return _OTHER_NAMES[name]
    for address, url in _ADDRESSES.items():
        if name == address or name.startswith(f"{address}/"):
            return url
    if table := _STU3_TABLE.fullmatch(name):
        return (
            _V3_NAMES.get(table[2], _TERMINOLOGY + f"v3-{table[2]}")
            if table[1] == "v3"
            else f"{_TERMINOLOGY}v2-{table[2]}"
        )
    if name.startswith("terminology.hl7.org/codesystem/"):
        return _TERMINOLOGY + plain.rpartition("/")[2]
    return plain


_TERM = re.compile(r"\|[^|]*\|?")
# What makes of a finding something else than this patient's present finding: the context of SNOMED CT expressions.
_CONTEXT = frozenset({"408729009", "408730004", "408731000", "408732007"})
_LATERALITY, _FINDING_SITE = "272741003", "363698007"
_LONGEST_SYSTEM, _LONGEST_CODE = 200, 400


# Typed: True is no code, and is not to be taken for the number 1.
@lru_cache(maxsize=16_384, typed=True)
def read_coding(system: object, code: object) -> tuple[Coding, ...]:
    """One Coding as pairs of canonical system and code; none where it has no code that can be read.

    A SNOMED CT expression is what its focus concepts are; the side and the site that it adds follow as codings of their
    own. An expression with a context of its own, such as "known absent", is left as it is, and so matches nothing.
    Specification: FHIR R4, Using SNOMED CT; SNOMED CT compositional grammar.
    """
    if isinstance(code, int) and not isinstance(code, bool):
        code = str(code)
    if not isinstance(system, str) or not isinstance(code, str):
        return ()
    code = code.strip()
    if not system or not code or len(code) > _LONGEST_CODE or len(system) > _LONGEST_SYSTEM:
        return ()
    system = system_of(system)
    if system == ICD:
        code = code.upper()
        return ((ICD, f"{code[:3]}.{code[3:]}" if len(code) > 3 and code[3] != "." else code),)
    if system == SCT and not code.isdigit():
        return tuple((SCT, part) for part in _expression(code))
    return ((system, code),)


_ATTRIBUTE = re.compile(r"(\d+)=\(?(\d+)")


def _expression(written: str) -> list[str]:
    """The focus concepts of a SNOMED CT expression, then its side and site, however deep they are nested."""
    plain = re.sub(r"[\s{}]|^(?:===|<<<)", "", _TERM.sub("", written))
    focus, _, refinement = plain.partition(":")
    attributes = _ATTRIBUTE.findall(refinement)
    if any(name in _CONTEXT for name, _value in attributes):
        return [written]
    return [*focus.split("+"), *(value for name, value in attributes if name in (_LATERALITY, _FINDING_SITE))]


def codings(concept: object) -> list[Coding]:
    """The codings of a CodeableConcept; a `coding` that is sent as one object is an array of one."""
    found: list[Coding] = []
    given = concept.get("coding") if isinstance(concept, dict) else None
    if given is None:
        return found
    for coding in given if isinstance(given, list) else (given,):
        if isinstance(coding, dict):
            system, code = coding.get("system"), coding.get("code")
            # What cannot be a key of what is remembered is no code either.
            if isinstance(system, str) and isinstance(code, (str, int)):
                found += read_coding(system, code)
    return found


def joined(concepts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One CodeableConcept of several: all their codings, and their texts as displays; empty where there is none."""
    found = list(concepts)
    given = [coding for concept in found for coding in each(concept.get("coding"))]
    words = [{"display": text} for concept in found if (text := as_text(concept.get("text")).strip())]
    return {"coding": [*given, *words]} if given or words else {}


def words_of(concept: object) -> list[str]:
    """What a CodeableConcept is called: its text, then the display of each coding; empty where there is none."""
    called = as_dict(concept)
    words = [called.get("text"), *[coding.get("display") for coding in each(called.get("coding"))]]
    return [word for word in words if word and isinstance(word, str)]


def written_in(concept: object) -> list[str]:
    """The codes of a CodeableConcept, whatever their systems, and what it is called."""
    codes = [as_text(coding.get("code")) for coding in each(as_dict(concept).get("coding"))]
    return [*codes, *words_of(concept)]


def identifier_of(value: object) -> tuple[str, str] | None:
    """System and value of an Identifier; None unless it has both."""
    identifier = as_dict(value)
    named = (as_text(identifier.get("system")), as_text(identifier.get("value")))
    return named if all(named) else None


# SNOMED CT codes of a status. Source: Problem Status value set of C-CDA (2.16.840.1.113883.3.88.12.80.68); finding
# context values of the SNOMED CT Editorial Guide.
_SNOMED_STATUS: Final = {
    "55561003": "active",
    "73425007": "inactive",
    "413322009": "resolved",
    "277022003": "remission",
    "410605003": "confirmed",
    "415684004": "unconfirmed",
    "410516002": "refuted",
}
# What is written where a status has no code.
_STATUS_IN_WORDS: Final = dict.fromkeys(("ruled-out", "not-present", "known-absent"), "refuted")


def statuses(value: object) -> frozenset[str]:
    """Every status that a code or a CodeableConcept names, in small letters: each coding, its display and the text.

    All codings of a CodeableConcept mean the same, so any of them may be the one that is known; who asks decides which
    of several counts. Specification: FHIR R4, CodeableConcept.
    """
    if isinstance(value, str):
        return _status(value)
    try:
        written = orjson.dumps(value)
    except TypeError:
        # Nested too deeply, or a number too large, to be written as what it was read from.
        return _statuses_in(value)
    return _remembered(written) if len(written) < _LONG else _statuses_in(value)


def _statuses_in(value: object) -> frozenset[str]:
    found = {word.strip().lower().replace(" ", "-") for word in written_in(value) if word}
    found.update([_STATUS_IN_WORDS[word] for word in found if word in _STATUS_IN_WORDS])
    found.update([_SNOMED_STATUS[code] for system, code in codings(value) if code in _SNOMED_STATUS and system == SCT])
    return frozenset(found)


# A chart repeats its few statuses; of a long one nothing is kept.
_LONG: Final = 512


@lru_cache(maxsize=256)
def _remembered(written: bytes) -> frozenset[str]:
    return _statuses_in(orjson.loads(written))


@lru_cache(maxsize=256)
def _status(code: str) -> frozenset[str]:
    return frozenset({code.strip().lower()})


# ---------------------------------------------------------------------------------------------------------------------
# What changes the meaning of all else


def changed_by(element: Mapping[str, Any]) -> str:
    """The member of a resource or an element that changes what it means in a way that is not known here, or nothing.

    FHIR R4, Extensibility: what has a modifier extension that is not understood is not processed as if it had none.
    """
    if element.get("modifierExtension"):
        return "modifierExtension"
    return "implicitRules" if element.get("implicitRules") else ""


# ---------------------------------------------------------------------------------------------------------------------
# Values


class NoValue(Enum):
    """Why an element gives no value."""

    # It has no member of value[x] at all.
    NONE = "none"
    # It says that there is none, or why: a null, a data-absent-reason or a null flavor in whatever form.
    ABSENT = "absent"
    # It has one of a kind that FHIR does not have or of the wrong JSON type, or more than one.
    UNREADABLE = "unreadable"


class Given(NamedTuple):
    """A value: the FHIR type that the name of its member tells, and the JSON."""

    kind: str
    content: Any


_JSON_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "Boolean": bool,
    "Integer": int,
    "Decimal": (int, float),
    **dict.fromkeys(("String", "Code", "Date", "DateTime", "Instant", "Time", "Uri"), str),
    **dict.fromkeys(("Quantity", "CodeableConcept", "Coding", "Period", "Range", "Ratio", "SampledData"), dict),
    **dict.fromkeys(("Attachment", "Reference"), dict),
}
_ABSENCE_SYSTEMS = frozenset({DATA_ABSENT_REASON, NULL_FLAVOR})
_ABSENCE_EXTENSIONS = ("data-absent-reason", "nullFlavor")
# The null flavor of what is there, and is none of the value set.
_OTHER = (NULL_FLAVOR, "OTH")


def value_of(element: Mapping[str, Any]) -> Given | NoValue:
    """value[x] of an Observation, a component or an answer; a Coding as the CodeableConcept of it.

    Several values are as little readable as one of a kind that FHIR does not have: which of them counts is not told.
    Specification: FHIR R4, JSON (primitive elements); Observation; extensions data-absent-reason, iso21090-nullFlavor.
    """
    if element.get("dataAbsentReason") is not None:
        return NoValue.ABSENT
    found: Given | NoValue = NoValue.NONE
    for member in [member for member in element if "value" in member]:
        if member[:5] == "value":
            found = _together(found, _value(member[5:], element[member]))
        elif member[:6] == "_value":
            found = _together(found, _beside(element[member], alone=element.get(member[1:]) is None))
    return found


def _together(one: Given | NoValue, other: Given | NoValue) -> Given | NoValue:
    """What two members of value[x] come to: a null beside a value is nothing, as some write every member."""
    if other is NoValue.NONE or one is NoValue.UNREADABLE:
        return one
    if one is NoValue.NONE or other is NoValue.UNREADABLE:
        return other
    if isinstance(one, Given) and isinstance(other, Given):
        return NoValue.UNREADABLE
    return one if isinstance(one, Given) else other


def _value(kind: str, content: Any) -> Given | NoValue:
    if content is None or _is_absent(content):
        return NoValue.ABSENT
    expected = _JSON_TYPES.get(kind)
    if expected is None or not isinstance(content, expected) or (isinstance(content, bool) and kind != "Boolean"):
        return NoValue.UNREADABLE
    if kind == "Coding":
        kind, content = "CodeableConcept", {"coding": [content]}
    if kind == "CodeableConcept" and any(
        coding[0] in _ABSENCE_SYSTEMS and coding != _OTHER for coding in codings(content)
    ):
        return NoValue.ABSENT
    return Given(kind, content)


def _beside(content: object, *, alone: bool) -> NoValue:
    """What the second member of a primitive value, `_valueBoolean` and its like, adds to the first or stands for."""
    if _is_absent(content):
        return NoValue.ABSENT if alone else NoValue.UNREADABLE
    return NoValue.UNREADABLE if alone else NoValue.NONE


def _is_absent(content: object) -> bool:
    """Whether an element says by an extension that it has no value."""
    return (
        isinstance(content, dict)
        and "extension" in content
        and any(as_text(one.get("url")).endswith(_ABSENCE_EXTENSIONS) for one in each(content["extension"]))
    )


# ---------------------------------------------------------------------------------------------------------------------
# Dates


class Dated(msgspec.Struct, frozen=True, gc=False):
    """When something was, and whether there was a date that could not be read."""

    when: When | None
    unreadable: bool = False


NO_DATE: Final = Dated(None)
UNREADABLE_DATE: Final = Dated(None, unreadable=True)


def dated(resource: Mapping[str, Any], *groups: tuple[str, ...]) -> Dated:
    """The date that the first of these groups of members with any in it gives: dateTimes, Periods, Timings.

    A date that is there and cannot be read, or says that it is not known, is not replaced by one of a later group, such
    as that of the record: it would say something else. Specification: FHIR R4, dateTime, Period, Timing.
    """
    found = NO_DATE
    for members in groups:
        for member in members:
            if (value := resource.get(member)) is not None or f"_{member}" in resource:
                found = UNREADABLE_DATE
                if when := moment(value):
                    return Dated(when)
        if found is not NO_DATE:
            break
    return found


def moment(value: object) -> When | None:
    """A dateTime, or the end of what is not one moment: of a Period the end or the start, of a Timing the last."""
    if isinstance(value, str):
        return read_when(value)
    if not isinstance(value, dict):
        return None
    events = [when for event in as_list(value.get("event")) if (when := read_when(event))]
    if events:
        return max(events, key=lambda when: when.high)
    bounds = as_dict(as_dict(value.get("repeat")).get("boundsPeriod"))
    return read_when(value.get("end") or value.get("start") or bounds.get("end") or bounds.get("start"))


EFFECTIVE: Final = ("effectiveDateTime", "effectiveInstant", "effectivePeriod", "effectiveTiming")
# recordedDate of R4, assertedDate of STU3, dateRecorded of DSTU2.
RECORDED: Final = ("recordedDate", "assertedDate", "dateRecorded")


# ---------------------------------------------------------------------------------------------------------------------
# Sides in words

LEFT, RIGHT, BILATERAL, NO_SIDE = "left", "right", "bilateral", ""
_SIDE_WORD = re.compile(r"\b(left|lt|right|rt|bilateral|both)\b|\((l|r)\)|[ ,](l|r)$", re.IGNORECASE)
_SIDE_OF: Final = {
    **dict.fromkeys(("left", "lt", "l"), LEFT),
    **dict.fromkeys(("right", "rt", "r"), RIGHT),
    **dict.fromkeys(("bilateral", "both"), BILATERAL),
}


@Remembered
def sides_in(text: str) -> frozenset[str]:
    """The sides that these words name."""
    return frozenset(_SIDE_OF[next(filter(None, named)).lower()] for named in _SIDE_WORD.findall(text))


def one_side(sides: Set[str]) -> str:
    """What several statements of the side come to: two sides are both."""
    return NO_SIDE if not sides else next(iter(sides)) if len(sides) == 1 else BILATERAL


def qualifiers(concept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The concepts that the extensions of a concept or a site add to it, such as its laterality in mCODE.

    Specification: FHIR R4, Extensibility; mCODE, Laterality Qualifier.
    """
    found: list[dict[str, Any]] = []
    for extension in each(concept.get("extension")):
        found += each(extension.get("valueCodeableConcept"))
        found += [{"coding": [coding]} for coding in each(extension.get("valueCoding"))]
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Whole resources


def is_deceased(patient: Mapping[str, Any]) -> bool:
    """Whether a Patient is recorded as dead, be it without a date that can be read. FHIR R4, Patient.deceased[x]."""
    return patient.get("deceasedBoolean") is True or patient.get("deceasedDateTime") is not None


def decoded(raw: msgspec.Raw) -> dict[str, Any]:
    """One resource; empty where it cannot be read as a JSON object."""
    try:
        return as_dict(msgspec.json.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def current(resources: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The resources without older versions of one of them.

    Specification: FHIR R4, Resource.meta; Bundle, constraint bdl-7.
    """
    versions: dict[tuple[object, object], list[dict[str, Any]]] = {}
    for number, resource in enumerate(resources):
        identifier = resource.get("id")
        key = (resource.get("resourceType"), identifier) if isinstance(identifier, str) else (None, number)
        versions.setdefault(key, []).append(resource)
    for found in versions.values():
        yield from _newest(found) if len(found) > 1 else found


def _newest(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of several versions the newest, by when it was updated or by its number; all where that does not tell."""
    for order in (_updated, _version):
        keys = [order(resource) for resource in found]
        known = [key for key in keys if key is not None]
        if len(known) == len(found) == len(set(known)):
            return [found[known.index(max(known))]]
    return found


def _updated(resource: Mapping[str, Any]) -> float | None:
    when = read_when(as_dict(resource.get("meta")).get("lastUpdated"))
    return when.high.timestamp() if when else None


def _version(resource: Mapping[str, Any]) -> float | None:
    version = as_text(as_dict(resource.get("meta")).get("versionId"))
    return float(version) if version.isdecimal() and len(version) < 16 else None
