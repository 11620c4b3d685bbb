"""One FHIR resource -> what it states about findings. An element that is not sound makes its finding unknown.

Nothing here knows a patient, a clock or a rule; it knows the codes of the knowledge and the shapes in which a finding
may arrive: a code with a value, a question with the finding as its answer, a component, a Condition, an item of a
QuestionnaireResponse, an allergy, a medicine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from typing import Any

import msgspec

from service.chart.fhir_time import When, read_when
from service.guideline.conditions import Interval
from service.guideline.forms import CLINICAL_KINDS, SYSTEMS
from service.guideline.model import LOCAL_SYSTEM, Code, Finding, Guideline
from service.guideline.quantity import read_number, read_quantity

PROVISIONAL, BY_NAME = "provisional", "byName"
LEFT, RIGHT, BILATERAL, NO_SIDE = "left", "right", "bilateral", ""
_ICD = SYSTEMS["icd10cm"]
# How systems are written by EHRs that prefer object identifiers, and by older ones.
_ALIASES = {
    "urn:oid:2.16.840.1.113883.6.96": SYSTEMS["sct"],
    "urn:oid:2.16.840.1.113883.6.1": SYSTEMS["loinc"],
    "urn:oid:2.16.840.1.113883.6.90": _ICD,
    "urn:oid:2.16.840.1.113883.6.88": SYSTEMS["rxnorm"],
}
_YES_NO_SYSTEMS = {
    "http://terminology.hl7.org/CodeSystem/v2-0136": {"Y": True, "N": False},
    "http://hl7.org/fhir/v2/0136": {"Y": True, "N": False},
    SYSTEMS["loinc"]: {"LA33-6": True, "LA32-8": False},
    "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation": {"POS": True, "NEG": False},
}
_YES_TEXTS = frozenset({"yes", "present", "positive"})
_NO_TEXTS = frozenset({"no", "absent", "negative"})
_NOT_EVIDENCE = frozenset({"entered-in-error", "cancelled", "registered"})
_PAST = frozenset({"inactive", "remission", "resolved"})
_TENTATIVE = frozenset({"preliminary", "provisional", "differential", "unconfirmed"})
_STANDING_MEDICINE = frozenset({"active", "on-hold", "draft", "unknown", "intended", "recorded", ""})
_PLANNED_ONLY = frozenset({"proposal", "plan"})
_SIDE_WORD = re.compile(r"\b(left|right|bilateral|both)\b", re.IGNORECASE)
_FHIR_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_WORD = re.compile(r"[a-z]{4,}")
_ON_THE_SKIN = frozenset({"topical", "cream", "ointment", "patch", "transdermal", "ophthalmic"})
_ITEM_DEPTH = 20
_VALUES = frozenset(
    f"value{kind}"
    for kind in (
        *("Quantity", "CodeableConcept", "String", "Boolean", "Integer", "Range", "Ratio", "SampledData", "Time"),
        *("DateTime", "Period", "Coding", "Decimal", "Date", "Uri", "Attachment", "Reference"),
    )
)
_DATE_MEMBERS = ("valueDateTime", "valueDate", "valueString")


def _not_doubted() -> bool:
    return True


class Statement(msgspec.Struct, frozen=True):
    """What one resource says of one finding. value: True, False, None (unknown), an Interval, or a When for a date."""

    finding: str
    value: bool | Interval | When | None
    side: str
    when: When | None
    resource: str
    # "", PROVISIONAL (the chart itself says so) or BY_NAME (recognised by its name, not by a code).
    remark: str = ""
    # An active Condition stands until now, however long ago it began.
    standing: bool = False
    past: bool = False
    # What the FHIR models say of the resource; asked for where it is shown, for most statements are in no card.
    is_valid: Callable[[], bool] = _not_doubted


def as_dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _concepts(value: object) -> list[dict[str, Any]]:
    """The CodeableConcepts of a member that some send as one object and some as an array."""
    return [as_dict(item) for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]


def _codings(concept: object) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    codings = concept.get("coding") if isinstance(concept, dict) else None
    if not isinstance(codings, list):
        return found
    for coding in codings:
        if isinstance(coding, dict):
            system, code = coding.get("system"), coding.get("code")
            if isinstance(system, str) and isinstance(code, str):
                found.append((_ALIASES.get(system, system), code))
    return found


def words_of(concept: object) -> list[str]:
    """What a CodeableConcept is called: its text, then the display of each coding; empty where there is none."""
    named = as_dict(concept)
    return [as_text(named.get("text")), *(as_text(as_dict(c).get("display")) for c in as_list(named.get("coding")))]


def _status(concept: object) -> str:
    """The code of a status that is a CodeableConcept by the book and a bare code in some EHRs."""
    if isinstance(concept, str):
        return concept.lower()
    codings = _codings(concept)
    return codings[0][1].lower() if codings else as_text(as_dict(concept).get("text")).lower()


def _tentative(status: str) -> str:
    return PROVISIONAL if status in _TENTATIVE else ""


def reference_to(resource: Mapping[str, Any]) -> str:
    """Type/id, as a card may print it: an id that is no FHIR id is not repeated."""
    kind, identifier = as_text(resource.get("resourceType")), as_text(resource.get("id"))
    return f"{kind}/{identifier}" if _FHIR_ID.fullmatch(identifier) else kind


class CodeIndex:
    """Code -> findings, as the knowledge has it."""

    def __init__(self, guideline: Guideline) -> None:
        self.findings = guideline.findings
        self._exact: dict[tuple[str, str], tuple[Code, ...]] = {}
        self._children: dict[str, list[Code]] = {}
        self._ranges: list[Code] = []
        for code in guideline.codes:
            if code.match == "range":
                self._ranges.append(code)
            elif code.match == "children":
                self._children.setdefault(code.code, []).append(code)
            else:
                self._add(code.system, code.code, code)
        for finding in guideline.findings:
            self._add(LOCAL_SYSTEM, finding, Code(finding, LOCAL_SYSTEM, finding, "exact", "", "", ""))
        self._answers: dict[tuple[str, str], bool | None] = {}
        self._sides: dict[tuple[str, str], str] = {}
        self._sites: dict[tuple[str, str], set[str]] = {}
        self._relieving: set[tuple[str, str]] = set()
        for code in guideline.answers:
            key = (code.system, code.code)
            if code.concept.startswith("site:"):
                self._sites.setdefault(key, set()).add(code.concept.removeprefix("site:"))
            elif code.concept == "side":
                self._sides[key] = code.side
            elif code.concept == "relieving-question":
                self._relieving.add(key)
            elif code.concept != "question":
                self._answers[key] = {"yes": True, "no": False, "unknown": None}[code.concept]
        for system, answers in _YES_NO_SYSTEMS.items():
            self._answers.update({(system, code): answer for code, answer in answers.items()})
        self._medicines = _medicines_by_name(guideline)
        # Charts repeat their codes; the cache is bounded because callers choose what is looked up.
        self.lookup = lru_cache(maxsize=16_384)(self._lookup)

    def _add(self, system: str, code: str, row: Code) -> None:
        self._exact[(system, code)] = (*self._exact.get((system, code), ()), row)

    def _lookup(self, system: str | None, code: str | None) -> tuple[Code, ...]:
        """The rows that this coding matches; the longest child wins, because it knows the side."""
        if not system or not code or len(code) > 64 or len(system) > 200:
            return ()
        system = system.strip().rstrip("/")
        system, code = _ALIASES.get(system, system), code.strip()
        if system != _ICD:
            return self._exact.get((system, code), ())
        code = code.upper()
        if len(code) > 3 and code[3] != ".":
            code = f"{code[:3]}.{code[3:]}"
        found = {row.concept: row for row in self._ranges if _in_range(code, row.code)}
        for length in range(3, len(code) + 1):
            found.update({row.concept: row for row in self._children.get(code[:length], ())})
        found.update({row.concept: row for row in self._exact.get((_ICD, code), ())})
        return tuple(found.values())

    def rows(self, concept: object) -> Sequence[Code]:
        """The rows that any coding of a CodeableConcept matches, one a finding, those with a side first."""
        codings = _codings(concept)
        if len(codings) == 1:
            return self.lookup(*codings[0])
        found: dict[str, Code] = {}
        for system, code in codings:
            for row in self.lookup(system, code):
                if row.concept not in found or row.side or row.site < found[row.concept].site:
                    found[row.concept] = row
        return list(found.values())

    def named_medicines(self, concept: object, *, on_the_skin: bool = False) -> list[Code]:
        """The ingredients that a medicine names in words, where its code is that of a product no value set lists.

        What is put on the skin is left out unless it is asked for: it is not taken with the others.
        """
        words = [word for text in words_of(concept) for word in _WORD.findall(text.lower())]
        if not on_the_skin and not _ON_THE_SKIN.isdisjoint(words):
            return []
        return list({row.concept: row for word in words for row in self._medicines.get(word, ())}.values())

    def names_of(self, finding: str) -> frozenset[str]:
        """The words by which the medicines of this finding are recognised."""
        return frozenset(word for word, rows in self._medicines.items() if any(row.concept == finding for row in rows))

    def place(self, concepts: list[dict[str, Any]]) -> tuple[str, Set[str]]:
        """Where a resource says that it is about: its side (left, right, bilateral or none) and its sites.

        The side comes from laterality codes and lateralised sites, else from the words themselves.
        """
        if not concepts:
            return NO_SIDE, set()
        sides: set[str] = set()
        sites: set[str] = set()
        for concept in concepts:
            for coding in _codings(concept):
                if coding in self._sides:
                    sides.add(self._sides[coding])
                if coding in self._sites:
                    sites |= self._sites[coding]
        if not sides:
            words = {word.lower() for concept in concepts for word in _SIDE_WORD.findall(as_text(concept.get("text")))}
            sides = {BILATERAL if word == "both" else word for word in words}
        return (NO_SIDE if not sides else sides.pop() if len(sides) == 1 else BILATERAL), sites

    def relieves(self, question: object) -> bool:
        """Whether this question asks what eases the pain: its answer is no statement that the finding is there."""
        return not self._relieving.isdisjoint(_codings(question))

    def answer(self, concept: object) -> bool | None:
        """Yes, no, or unknown; codings that disagree are unknown."""
        codings = _codings(concept)
        answers = {self._answers[coding] for coding in codings if coding in self._answers}
        if answers:
            return next(iter(answers)) if len(answers) == 1 else None
        return answer_in_words(as_dict(concept).get("text"))


def _medicines_by_name(guideline: Guideline) -> dict[str, list[Code]]:
    """One medicine may be several findings: warfarin is also an anticoagulant."""
    found: dict[str, list[Code]] = {}
    coded: dict[str, list[Code]] = {}
    for code in guideline.codes:
        if guideline.findings[code.concept].kind == "medication" and code.system == SYSTEMS["rxnorm"]:
            found.setdefault(_WORD.findall(code.display.lower())[0], []).append(code)
            coded.setdefault(code.code, []).append(code)
    for name, medicine in guideline.medicine_names.items():
        found.setdefault(name, []).extend(coded[medicine.of])
    return found


def _in_range(code: str, bounds: str) -> bool:
    first, last = bounds.split("-")
    return len(code) >= len(first) and first <= code[:3] <= last


def answer_in_words(text: object) -> bool | None:
    word = as_text(text).strip().lower()
    return True if word in _YES_TEXTS else False if word in _NO_TEXTS else None


# ---------------------------------------------------------------------------------------------------------------------
# Values


def _has_value(element: Mapping[str, Any]) -> bool:
    # A null is no value. A loop, because a generator costs twice as much and this is asked of every element.
    for member in element:  # noqa: SIM110
        if member in _VALUES and element[member] is not None:
            return True
    return False


def _read_value(element: Mapping[str, Any], finding: Finding, index: CodeIndex) -> bool | Interval | When | None:
    """The value of an Observation, a component or an answer, for this finding; None is unknown."""
    if finding.value == "quantity":
        return _read_measure(element, finding.unit)
    if finding.value == "date":
        period = as_dict(element.get("valuePeriod")).get("start")
        return next(
            (
                when
                for value in (period, *(element.get(member) for member in _DATE_MEMBERS))
                if (when := read_when(value))
            ),
            None,
        )
    answer = element.get("valueBoolean")
    if isinstance(answer, bool):
        return answer
    if "valueCodeableConcept" in element:
        return index.answer(element["valueCodeableConcept"])
    if "valueCoding" in element:
        return index.answer({"coding": [element["valueCoding"]]})
    return answer_in_words(element.get("valueString"))


def _read_measure(element: Mapping[str, Any], unit: str) -> Interval | None:
    if "valueQuantity" in element:
        return read_quantity(as_dict(element["valueQuantity"]), unit)
    # A bare number has no unit: sound for a score or a count only.
    number = element.get("valueInteger", element.get("valueDecimal"))
    return read_number(number) if unit.startswith("{") else None


def _element_value(element: Mapping[str, Any], finding: Finding, index: CodeIndex) -> bool | Interval | When | None:
    if element.get("dataAbsentReason") is not None:
        return None
    if _has_value(element):
        return _read_value(element, finding, index)
    if finding.value != "boolean":
        return None
    if element.get("interpretation") is not None:
        answers = {index.answer(concept) for concept in _concepts(element["interpretation"])}
        return next(iter(answers)) if len(answers) == 1 else None
    return True


# ---------------------------------------------------------------------------------------------------------------------
# Resources


def _effective(resource: Mapping[str, Any]) -> When | None:
    for member in ("effectiveDateTime", "effectiveInstant", "effectivePeriod", "issued"):
        value = resource.get(member)
        if isinstance(value, dict):
            value = value.get("end") or value.get("start")
        if value is not None and (when := read_when(value)):
            return when
    return None


def _observation(resource: Mapping[str, Any], index: CodeIndex) -> Iterator[Statement]:
    status = as_text(resource.get("status"))
    if status in _NOT_EVIDENCE:
        return
    side, at = index.place(_concepts(resource["bodySite"])) if "bodySite" in resource else (NO_SIDE, frozenset())
    when, reference, remark = _effective(resource), reference_to(resource), _tentative(status)
    components = [as_dict(item) for item in as_list(resource.get("component"))]
    grouping = bool(resource.get("hasMember") or resource.get("component"))

    for element in (resource, *components):
        for row in index.rows(element.get("code")):
            finding = index.findings[row.concept]
            if row.system != LOCAL_SYSTEM and finding.kind in ("medication", "allergy"):
                continue
            # A panel groups its parts; without a value of its own it states nothing itself.
            if element is resource and grouping and not _has_value(resource):
                continue
            if not row.site or row.site in at:
                value = _element_value(element, finding, index)
                yield Statement(row.concept, value, side or row.side, when, reference, remark)
        answer = element.get("valueCodeableConcept")
        if answer is not None and not index.relieves(element.get("code")):
            for row in index.rows(answer):
                # A question such as one about the family must not turn a disease among its answers into this patient's.
                own = index.findings[row.concept].kind in CLINICAL_KINDS - {"diagnosis"} or row.code.startswith("LA")
                if own and (not row.site or row.site in at):
                    yield Statement(row.concept, True, side or row.side, when, reference, remark)


_ABATEMENT = tuple(f"abatement{kind}" for kind in ("DateTime", "Age", "Period", "Range", "String", "Boolean"))


def _condition(resource: Mapping[str, Any], index: CodeIndex) -> Iterator[Statement]:
    verification, clinical = _status(resource.get("verificationStatus")), _status(resource.get("clinicalStatus"))
    if verification == "entered-in-error":
        return
    side, at = index.place(_concepts(resource.get("bodySite")))
    onset = read_when(resource.get("onsetDateTime")) or read_when(as_dict(resource.get("onsetPeriod")).get("start"))
    recorded = read_when(resource.get("recordedDate")) or read_when(resource.get("assertedDate"))
    past = clinical in _PAST
    if not clinical:
        past = any(resource.get(member) not in (None, False) for member in _ABATEMENT)
    refuted = verification == "refuted"
    reference = reference_to(resource)
    for row in index.rows(resource.get("code")):
        finding = index.findings[row.concept]
        if (finding.kind == "medication" and row.system != LOCAL_SYSTEM) or (row.site and row.site not in at):
            continue
        value = True if finding.value == "boolean" else onset if finding.value == "date" else None
        statement = Statement(
            row.concept,
            (not refuted) if value is True else value,
            side or row.side,
            # An event is as old as its onset; what is said of it is as new as its record.
            (onset or recorded) if finding.dated_event else (recorded or onset),
            reference,
            remark=_tentative(verification),
            standing=not past,
            past=past,
        )
        yield statement
        if onset and statement.value is True and not past and (finding.locates or finding.kind == "diagnosis"):
            yield Statement("onset-date", onset, statement.side, recorded or onset, reference, standing=True)


def _questionnaire_response(resource: Mapping[str, Any], index: CodeIndex) -> Iterator[Statement]:
    if as_text(resource.get("status")) in ("entered-in-error", "stopped"):
        return
    when, reference = read_when(resource.get("authored")), reference_to(resource)
    remark = PROVISIONAL if resource.get("status") == "in-progress" else ""
    items = [(as_dict(item), 0) for item in as_list(resource.get("item"))]
    while items:
        item, depth = items.pop()
        finding = _item_finding(item, index)
        for answer in map(as_dict, as_list(item.get("answer"))):
            if finding:
                value = _read_value(answer, index.findings[finding], index)
                yield Statement(finding, value, NO_SIDE, when, reference, remark=remark)
            elif "valueCoding" in answer:
                for row in index.rows({"coding": [answer["valueCoding"]]}):
                    if index.findings[row.concept].kind in CLINICAL_KINDS and not row.site:
                        yield Statement(row.concept, True, row.side, when, reference, remark=remark)
            if depth < _ITEM_DEPTH:
                items += [(as_dict(inner), depth + 1) for inner in as_list(answer.get("item"))]
        if depth < _ITEM_DEPTH:
            items += [(as_dict(inner), depth + 1) for inner in as_list(item.get("item"))]


def _item_finding(item: Mapping[str, Any], index: CodeIndex) -> str:
    """The finding that an item asks for: its linkId or the end of its definition is the finding's id."""
    for name in (as_text(item.get("linkId")), as_text(item.get("definition"))):
        last = re.split(r"[/#|]", name)[-1]
        if last in index.findings:
            return last
    return ""


def _allergy(resource: Mapping[str, Any], index: CodeIndex) -> Iterator[Statement]:
    verification, clinical = _status(resource.get("verificationStatus")), _status(resource.get("clinicalStatus"))
    if verification == "entered-in-error":
        return
    when = read_when(resource.get("recordedDate")) or read_when(resource.get("onsetDateTime"))
    reactions = (as_dict(reaction) for reaction in as_list(resource.get("reaction")))
    concepts = [resource.get("code"), *(reaction.get("substance") for reaction in reactions)]
    for concept in concepts:
        for row in index.rows(concept):
            if index.findings[row.concept].kind == "allergy":
                yield Statement(
                    row.concept,
                    verification != "refuted",
                    NO_SIDE,
                    when,
                    reference_to(resource),
                    remark=_tentative(verification),
                    standing=True,
                    past=clinical in _PAST,
                )


def medicine_of(resource: Mapping[str, Any], medications: Mapping[str, Mapping[str, Any]]) -> object:
    """What the medicine is, as a CodeableConcept: in the resource, in a Medication within it, or in one beside it, by
    its id. A Medication without a code is what its ingredients are, one that is not there what the reference calls it.
    """
    if "medicationReference" not in resource:
        return resource.get("medicationCodeableConcept")
    to = as_dict(resource["medicationReference"])
    reference = as_text(to.get("reference"))
    if reference.startswith("#"):
        contained = (as_dict(item) for item in as_list(resource.get("contained")))
        medication = next((item for item in contained if item.get("id") == reference[1:]), {})
    else:
        identifier = reference.partition("/_history/")[0].rpartition("/")[2].removeprefix("urn:uuid:")
        medication = as_dict(medications.get(identifier))
    if medication.get("code"):
        return medication["code"]
    made_of = [as_dict(as_dict(part).get("itemCodeableConcept")) for part in as_list(medication.get("ingredient"))]
    codings = [coding for concept in made_of for coding in as_list(concept.get("coding"))]
    words = [as_text(concept.get("text")) for concept in made_of] + [as_text(to.get("display"))]
    return {"coding": codings, "text": " / ".join(filter(None, words))} if codings or any(words) else None


def _medicine(resource: Mapping[str, Any], index: CodeIndex) -> Iterator[Statement]:
    if as_text(resource.get("status")).lower() not in _STANDING_MEDICINE:
        return
    if resource.get("resourceType") == "MedicationRequest" and (
        as_text(resource.get("intent")) in _PLANNED_ONLY or resource.get("doNotPerform") is True
    ):
        return
    when = read_when(resource.get("authoredOn")) or _effective(resource) or read_when(resource.get("dateAsserted"))
    medicine = resource.get("medicationCodeableConcept")
    rows = [row for row in index.rows(medicine) if index.findings[row.concept].kind == "medication"]
    named = [] if rows else index.named_medicines(medicine)
    for row in rows or named:
        remark = BY_NAME if named else ""
        yield Statement(row.concept, True, NO_SIDE, when, reference_to(resource), remark=remark, standing=True)


READERS = {
    "Observation": _observation,
    "Condition": _condition,
    "QuestionnaireResponse": _questionnaire_response,
    "AllergyIntolerance": _allergy,
    "MedicationRequest": _medicine,
    "MedicationStatement": _medicine,
}
