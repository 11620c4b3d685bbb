"""What a clinician answered on a page: as the fields of its form, as FHIR, and as words.

An answer is about one finding, and where the finding has a side, about one side. Its value is yes, no or unknown, a
number in the unit of the finding, or a date.
Specification: FHIR R4, QuestionnaireResponse; Observation.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import cached_property
from math import isfinite
from typing import Any, NamedTuple

from service.chart.elements import BILATERAL, LEFT, NO_SIDE, RIGHT
from service.knowledge_model.model import LOCAL_SYSTEM, Code, Finding, Knowledge
from service.knowledge_model.quantity import UCUM, unit_in_words
from service.knowledge_model.vocabulary import SYSTEMS

YES, NO, UNKNOWN = "yes", "no", "unknown"
# The item that is answered with the side of the pain, where the chart names none.
SIDE = "side"
SIDES = (LEFT, RIGHT, BILATERAL)
_SIDES = frozenset({NO_SIDE, *SIDES})
_NUMBER = re.compile(r"\d{1,6}([.,]\d{1,4})?")
# HL7 FHIR R4, code system http://terminology.hl7.org/CodeSystem/observation-category.
_CATEGORIES = "http://terminology.hl7.org/CodeSystem/observation-category"
# US Core 7.0.0: value set us-core-clinical-note-type; code system us-core-documentreference-category.
_NOTE_TYPE = {"system": "http://loinc.org", "code": "11506-3", "display": "Progress note"}
_NOTE_CATEGORY = {
    "system": "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category",
    "code": "clinical-note",
    "display": "Clinical Note",
}


class Item(NamedTuple):
    """What is asked: a finding, on one side or on none."""

    finding: str
    side: str = NO_SIDE

    @property
    def key(self) -> str:
        """Its name in a form, and its linkId."""
        return f"{self.side}/{self.finding}" if self.side else self.finding


Answers = Mapping[Item, str]


class Vocabulary:
    """How answers are written by one body of knowledge; made once."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge

    @cached_property
    def _codes(self) -> Mapping[str, Code]:
        """The first SNOMED CT code of each of yes, no and unknown, and of each side."""
        found: dict[str, Code] = {}
        for code in self.knowledge.answers:
            if code.system == SYSTEMS["sct"]:
                found.setdefault(code.side if code.concept == SIDE else code.concept, code)
        return found

    def coding(self, answer: str) -> dict[str, str]:
        """Yes, no, unknown or a side, as a Coding."""
        code = self._codes[answer]
        return {"system": code.system, "code": code.code, "display": code.display}

    # -- from a form --------------------------------------------------------------------------------------------------

    def item(self, key: str) -> Item | None:
        """The item of this key; None where there is none."""
        side, _, finding = key.rpartition("/")
        known = self.knowledge.findings.get(finding)
        if known is None or side not in _SIDES or (side and known.whole_patient):
            return None
        return Item(finding, side)

    def value(self, item: Item, text: str) -> str | None:
        """An answer in the form in which it is kept; None where it is none to this item."""
        finding, text = self.knowledge.findings[item.finding], text.strip()
        if text == UNKNOWN:
            return text
        if finding.value == "boolean":
            return text if text in (YES, NO) else None
        if finding.value == "date":
            try:
                return date.fromisoformat(text).isoformat()
            except ValueError:
                return None
        if not _NUMBER.fullmatch(text):
            return None
        number = float(text.replace(",", "."))
        return f"{number:g}" if isfinite(number) and finding.plausible.low <= number <= finding.plausible.high else None

    # -- as FHIR ------------------------------------------------------------------------------------------------------

    def questionnaire_response(self, answers: Answers, about: About, side: str) -> dict[str, Any]:
        """The answers as one form; `side` is the side that was chosen for what the chart gives none."""
        items = [self._response_item(item, answer, side) for item, answer in answers.items()]
        if side:
            items.insert(0, {"linkId": SIDE, "text": "Side", "answer": [{"valueCoding": self.coding(side)}]})
        return {
            "resourceType": "QuestionnaireResponse",
            **about.members("author"),
            "status": "completed",
            "identifier": about.identified(),
            "authored": about.at,
            "item": items,
        }

    def _response_item(self, item: Item, answer: str, side: str) -> dict[str, Any]:
        finding = self.knowledge.findings[item.finding]
        sided = item if item.side or finding.whole_patient else Item(item.finding, side)
        return {
            "linkId": sided.key,
            "definition": definition_of(finding.id),
            "text": finding.title,
            "answer": [self._answer(finding, answer)],
        }

    def _answer(self, finding: Finding, answer: str) -> dict[str, Any]:
        if answer == UNKNOWN or finding.value == "boolean":
            return {"valueCoding": self.coding(answer)}
        if finding.value == "date":
            return {"valueDate": answer}
        return {"valueQuantity": _quantity(finding, answer)}

    def observation(self, item: Item, answer: str, about: About, side: str) -> dict[str, Any]:
        """One answer as an Observation; `side` as of questionnaire_response."""
        finding = self.knowledge.findings[item.finding]
        side = NO_SIDE if finding.whole_patient else item.side or side
        value: dict[str, Any]
        if answer == UNKNOWN or finding.value == "boolean":
            value = {"valueCodeableConcept": {"coding": [self.coding(answer)]}}
        elif finding.value == "date":
            value = {"valueDateTime": answer}
        else:
            value = {"valueQuantity": _quantity(finding, answer)}
        category = "exam" if finding.kind in ("exam", "test") else "survey"
        return {
            "resourceType": "Observation",
            **about.members("performer"),
            "status": "final",
            "identifier": [about.identified()],
            "category": [{"coding": [{"system": _CATEGORIES, "code": category}]}],
            "code": {"coding": [{"system": LOCAL_SYSTEM, "code": finding.id}], "text": finding.title},
            "effectiveDateTime": about.at,
            **value,
            **({"bodySite": {"coding": [self.coding(side)]}} if side else {}),
        }

    def note(self, text: str, about: About) -> dict[str, Any]:
        """A text as a note that nobody has signed."""
        title = f"{self.knowledge.title}: second opinion"
        members = about.members("author")
        encounter = members.pop("encounter", None)
        return {
            "resourceType": "DocumentReference",
            **members,
            **({"author": [members["author"]]} if "author" in members else {}),
            "status": "current",
            "docStatus": "preliminary",
            "identifier": [about.identified()],
            "type": {"coding": [_NOTE_TYPE], "text": title},
            "category": [{"coding": [_NOTE_CATEGORY]}],
            "date": about.at,
            "content": [
                {
                    "attachment": {
                        "contentType": "text/plain",
                        "data": b64encode(text.encode()).decode(),
                        "title": title,
                        "creation": about.at,
                    }
                }
            ],
            **({"context": {"encounter": [encounter]}} if encounter else {}),
        }

    # -- in words -----------------------------------------------------------------------------------------------------

    def in_words(self, item: Item, answer: str) -> str:
        """An answer as a clinician reads it."""
        finding = self.knowledge.findings[item.finding]
        unit = unit_in_words(finding.unit) if finding.value == "quantity" and answer != UNKNOWN else ""
        of_side = f" ({self.knowledge.wording.sides.get(item.side, item.side)})" if item.side else ""
        return f"{finding.title}{of_side}: {answer} {unit}".rstrip()


class About(NamedTuple):
    """Whose answers they are, and when they were given; `identifier` is a uuid of what is saved."""

    patient: str
    encounter: str
    user: str
    at: str
    identifier: str

    def identified(self) -> dict[str, str]:
        """The identifier by which what was saved is found again."""
        return identified(self.identifier)

    def members(self, by: str) -> dict[str, Any]:
        """Id, patient, encounter, and who answered, under the name `by`."""
        who = {"reference": self.user}
        return {
            "subject": {"reference": f"Patient/{self.patient}"},
            **({"encounter": {"reference": f"Encounter/{self.encounter}"}} if self.encounter else {}),
            **({by: who if by == "author" else [who]} if self.user else {}),
        }


def identified(identifier: str) -> dict[str, str]:
    """A uuid as an Identifier."""
    return {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{identifier}"}


def definition_of(finding: str) -> str:
    """What an item names as its definition: where a form filler numbers the linkIds anew, it is read by this."""
    return f"{LOCAL_SYSTEM}#{finding}"


def _quantity(finding: Finding, answer: str) -> dict[str, Any]:
    return {"value": float(answer), "unit": finding.unit, "system": UCUM, "code": finding.unit}


def given(fields: Iterable[tuple[str, str]], vocabulary: Vocabulary) -> Iterator[tuple[Item, str] | None]:
    """Each pair of a key and a text as an answer; None for what is none."""
    for key, text in fields:
        item = vocabulary.item(key)
        value = vocabulary.value(item, text) if item else None
        yield (item, value) if item and value else None
