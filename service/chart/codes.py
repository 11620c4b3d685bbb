"""What codes and words mean by the knowledge: findings, answers, questions, sides, sites, medicines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from enum import Enum
from functools import lru_cache
from typing import Any

from service.chart.elements import (
    EXPANDED_YES_NO,
    FLAGS,
    ICD,
    INTERPRETATION,
    RXNORM,
    SCT,
    YES_NO,
    Coding,
    codings,
    one_side,
    qualifiers,
    read_coding,
    sides_in,
    words_of,
)
from service.guideline.model import LOCAL_SYSTEM, Code, Guideline

_WORD = re.compile(r"[a-z]{4,}")
_ON_THE_SKIN = frozenset({"topical", "cream", "ointment", "patch", "transdermal", "ophthalmic"})


_NOWHERE: frozenset[str] = frozenset()


class Answer(Enum):
    """What the answer to a question with yes and no comes to."""

    YES = True
    NO = False
    # It says itself that it is not known.
    UNKNOWN = None
    # It says something that is neither.
    UNREADABLE = "unreadable"


_SHOWN = {
    **dict.fromkeys(("POS", "DET"), Answer.YES),
    **dict.fromkeys(("NEG", "ND"), Answer.NO),
    **dict.fromkeys(("IND", "E"), Answer.UNKNOWN),
}
# HL7 tables: v2-0136 and v2-0532 (yes or no), v2-0078 and v3-ObservationInterpretation (what a test showed).
_HL7_ANSWERS: Mapping[str, Mapping[str, Answer]] = {
    YES_NO: {"Y": Answer.YES, "N": Answer.NO},
    EXPANDED_YES_NO: {
        "Y": Answer.YES,
        "N": Answer.NO,
        **dict.fromkeys(("NI", "NA", "UNK", "NASK", "ASKU", "NAV", "NP"), Answer.UNKNOWN),
    },
    FLAGS: _SHOWN,
    INTERPRETATION: _SHOWN,
}
_WORDS: Mapping[str, Answer] = {
    **dict.fromkeys(("yes", "y", "true", "1", "present", "positive", "detected", "known present"), Answer.YES),
    **dict.fromkeys(("no", "n", "false", "0", "absent", "negative", "not detected", "known absent"), Answer.NO),
    **dict.fromkeys(("denies", "denied"), Answer.NO),
    **dict.fromkeys(
        ("unknown", "asked but unknown", "not known", "not asked", "not applicable", "n/a"), Answer.UNKNOWN
    ),
}


class Question(Enum):
    """What a question makes of a finding that is its answer."""

    # It asks what this patient has.
    ASKS = "asks"
    # It asks what this patient does not have.
    DENIES = "denies"
    # It asks something else of this patient, such as what eases the pain.
    OTHER = "other"
    # What it asks, and of whom, is not known.
    UNKNOWN = "unknown"


# A question in words alone: of somebody else or of what eases, of what is not there, of what is there.
_ELSE = re.compile(
    r"\b(?:famil|mother|father|sibling|relative|donor|newborn|histor|reliev|eases?|better)", re.IGNORECASE
)
_DENYING = re.compile(r"\b(?:negatives?|denie[sd]|absent|ruled out|without|not present)\b", re.IGNORECASE)
_PLAIN = re.compile(
    r"\b(?:where|location|site|symptoms?|complaints?|findings?|quality|onset|worse|aggravat\w*|exacerbat\w*)\b",
    re.IGNORECASE,
)
_ASKING = {
    "question": Question.ASKS,
    "negative-question": Question.DENIES,
    "relieving-question": Question.OTHER,
    "other-question": Question.OTHER,
}


class CodeIndex:
    """Code -> findings, and what else codes mean, as the knowledge has it; made once."""

    def __init__(self, guideline: Guideline) -> None:
        self.findings = guideline.findings
        self._exact: dict[Coding, tuple[Code, ...]] = {}
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
        self._answers: dict[Coding, Answer] = {}
        self._sides: dict[Coding, str] = {}
        self._sites: dict[Coding, frozenset[str]] = {}
        self._questions: dict[Coding, Question] = {}
        for code in guideline.answers:
            key = (code.system, code.code)
            if code.concept.startswith("site:"):
                self._sites[key] = self._sites.get(key, _NOWHERE) | {code.concept.removeprefix("site:")}
            elif code.concept == "side":
                self._sides[key] = code.side
            elif code.concept in _ASKING:
                self._questions[key] = _ASKING[code.concept]
            else:
                self._answers[key] = {"yes": Answer.YES, "no": Answer.NO, "unknown": Answer.UNKNOWN}[code.concept]
        for system, answers in _HL7_ANSWERS.items():
            self._answers.update({(system, code): answer for code, answer in answers.items()})
        self._medicines = _medicines_by_name(guideline)
        # Charts repeat their codes; the cache is bounded because callers choose what is looked up.
        self.lookup = lru_cache(maxsize=16_384)(self._lookup)

    def _add(self, system: str, code: str, row: Code) -> None:
        self._exact[(system, code)] = (*self._exact.get((system, code), ()), row)

    def _lookup(self, system: str | None, code: str | None) -> tuple[Code, ...]:
        """The rows that this coding, as it is written, matches."""
        return tuple(row for coding in read_coding(system, code) for row in self._matching(coding))

    def _matching(self, coding: Coding) -> tuple[Code, ...]:
        """The rows of one coding; the longest child wins, because it knows the side."""
        system, code = coding
        if system != ICD:
            return self._exact.get(coding, ())
        found = {row.concept: row for row in self._ranges if _in_range(code, row.code)}
        for length in range(3, len(code) + 1):
            found.update({row.concept: row for row in self._children.get(code[:length], ())})
        found.update({row.concept: row for row in self._exact.get(coding, ())})
        return tuple(found.values())

    def rows(self, concept: object) -> Sequence[Code]:
        """The rows that any coding of a CodeableConcept matches, one a finding, those with a side first."""
        return self.matching(codings(concept))

    def matching(self, given: Sequence[Coding]) -> Sequence[Code]:
        """The same for the codings of a concept that were read already."""
        if len(given) == 1:
            return self.lookup(*given[0])
        found: dict[str, Code] = {}
        for system, code in given:
            for row in self.lookup(system, code):
                if row.concept not in found or row.side or row.site < found[row.concept].site:
                    found[row.concept] = row
        return list(found.values())

    def asserts(self, row: Code) -> bool:
        """Whether this code says, without any value, that the finding is there.

        A SNOMED CT clinical finding, a diagnosis of ICD-10-CM and a local finding do; the code of a question, a test or
        a measurement only asks. FHIR R4, Observation (notes on code and value).
        """
        finding = self.findings[row.concept]
        if finding.value != "boolean" or row.system not in (SCT, ICD, LOCAL_SYSTEM):
            return False
        return row.system != LOCAL_SYSTEM or finding.kind not in ("test", "measurement")

    def place(
        self, sites: Sequence[Mapping[str, Any]], code: object = None, coded: Sequence[Coding] | None = None
    ) -> tuple[str, Set[str]]:
        """Where a resource tells that it is about: its side (left, right, bilateral or none) and its sites.

        The side comes from laterality codes, lateralised sites and laterality extensions of its sites, then from what
        its code adds, then from the words of the sites. What a code is known to mean comes after that, and its words
        last: see side_in_words. `coded` are the codings of the code where they were read already.
        """
        named = [*sites, *(qualifier for site in sites for qualifier in qualifiers(site))] if sites else []
        given = [coding for concept in named for coding in codings(concept)]
        added = codings(code) if coded is None else coded
        if isinstance(code, dict) and "extension" in code:
            added = [*added, *(coding for qualifier in qualifiers(code) for coding in codings(qualifier))]
        places = _NOWHERE
        for coding in (*given, *added):
            if coding in self._sites:
                places = places | self._sites[coding]
        for group in (given, added):
            sides = {self._sides[coding] for coding in group if coding in self._sides} if group else _NOWHERE
            if sides:
                return one_side(sides), places
        return self.side_in_words(*named), places

    @staticmethod
    def side_in_words(*concepts: object) -> str:
        """The side that the text and the displays of these concepts name."""
        sides = _NOWHERE
        for concept in concepts:
            for word in words_of(concept):
                sides = sides | sides_in(word)
        return one_side(sides)

    def sites(self, coding: Coding) -> Set[str]:
        """The sites that this coding names."""
        return self._sites.get(coding, _NOWHERE)

    def is_side(self, coding: Coding) -> bool:
        """Whether this coding names a side and no site."""
        return coding in self._sides and coding not in self._sites

    def question(self, concept: object) -> Question:
        """What a finding as an answer to this question means. The code of a finding asks for it."""
        asked = {self._questions[coding] for coding in codings(concept) if coding in self._questions}
        for question in (Question.DENIES, Question.OTHER, Question.ASKS):
            if question in asked:
                return question
        words = " ".join(words_of(concept))
        for words_for, question in ((_ELSE, Question.OTHER), (_DENYING, Question.DENIES), (_PLAIN, Question.ASKS)):
            if words_for.search(words):
                return question
        return Question.ASKS if self.rows(concept) else Question.UNKNOWN

    def answer(self, concept: object) -> Answer:
        """What a CodeableConcept answers; codings that disagree cannot be read."""
        answers = {self._answers[coding] for coding in codings(concept) if coding in self._answers}
        if not answers:
            answers = {_WORDS[text] for word in words_of(concept) if (text := word.strip().lower()) in _WORDS}
        return answers.pop() if len(answers) == 1 else Answer.UNREADABLE

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


def answer_in_words(text: str) -> Answer:
    """What a text answers that is nothing but one word of yes, no or unknown."""
    return _WORDS.get(text.strip().lower(), Answer.UNREADABLE)


def _medicines_by_name(guideline: Guideline) -> dict[str, list[Code]]:
    """One medicine may be several findings: warfarin is also an anticoagulant."""
    found: dict[str, list[Code]] = {}
    coded: dict[str, list[Code]] = {}
    for code in guideline.codes:
        if guideline.findings[code.concept].kind == "medication" and code.system == RXNORM:
            found.setdefault(_WORD.findall(code.display.lower())[0], []).append(code)
            coded.setdefault(code.code, []).append(code)
    for name, medicine in guideline.medicine_names.items():
        found.setdefault(name, []).extend(coded[medicine.of])
    return found


def _in_range(code: str, bounds: str) -> bool:
    first, last = bounds.split("-")
    return len(code) >= len(first) and first <= code[:3] <= last
