"""What codes and words mean by the knowledge: findings, answers, questions, sides, sites, medicines, allergies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

from service.chart.elements import (
    ABSENT_OR_UNKNOWN,
    EXPANDED_YES_NO,
    FLAGS,
    ICD,
    INTERPRETATION,
    NO_SIDE,
    RXNORM,
    SCT,
    YES_NO,
    Coding,
    codings,
    one_side,
    qualifiers,
    read_coding,
    sides_in,
    system_of,
    words_of,
)
from service.knowledge_model.complaint_words import in_doubt, without_side
from service.knowledge_model.model import KINDS_IN_WORDS, LOCAL_SYSTEM, Code, Knowledge

_WORD = re.compile(r"[a-z]{4,}")
_LETTERS = re.compile(r"[a-z]{2,}")
# Words beside a name that take it back, or may: "denies aspirin", "avoid NSAIDs". Tylenol No. 3 is a product.
_TAKEN_BACK = re.compile(r"\b(?:no(?!\.?\s*\d)|not(?! tolerat)|never|denie[sd]|(?<!not )tolerate[sd]|avoid|stopped)\b")
# Words that tell of a medicine or of an allergy, but not which: with these alone there is no name to read.
_NAMELESS = re.compile(
    "adverse|agent|allergen|allerg(?:ic|y|ies)|an|analgesics?|and|capsules?|chart|coded?|comments?|disorder|drugs?|finding"
    "|for|free|freetext|hypersensitivity|in|injection|intolerances?|killers?|medicaments?|medications?|medicinal|medicines?"
    "|mg|misc|miscellaneous|ml|multiple|notes?|of|or|oral|others?|pain|painkillers?|pharmaceutical|pills?|prescription"
    "|products?|propensity|reactions?|reliever|risk|see|sensitivity|situation|solution|some|substance|tablets?|text|the|to"
    "|uncoded|unknown|unlisted|unspecified|various|with"
)
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


class Recognised(NamedTuple):
    """A finding that a medicine or an allergy is recognised as."""

    row: Code
    by_name: bool = False
    # It is named, and words beside the name may take it back.
    doubtful: bool = False


class CodeIndex:
    """Code -> findings, and what else codes mean, as the knowledge has it; made once."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.findings, self.onset = knowledge.findings, knowledge.engine.onset
        self.body_words = knowledge.engine.body_words
        self._exact: dict[Coding, tuple[Code, ...]] = {}
        self._children: dict[str, list[Code]] = {}
        self._ranges: list[Code] = []
        for code in knowledge.codes:
            if code.match == "range":
                self._ranges.append(code)
            elif code.match == "children":
                self._children.setdefault(code.code, []).append(code)
            else:
                self._add(code.system, code.code, code)
        for finding in knowledge.findings:
            self._add(LOCAL_SYSTEM, finding, Code(finding, LOCAL_SYSTEM, finding, "exact", "", "", ""))
        self._read_answers(knowledge)
        self._medicines = _medicines_by_name(knowledge)
        self._phrases = {name: name.replace("-", " ") for name in self._medicines if "-" in name}
        self._allergies = _allergies_by_medicine(knowledge)
        self._complaints = _complaints_in_words(knowledge)
        # Charts repeat their codes; the cache is bounded because callers choose what is looked up.
        self.lookup = lru_cache(maxsize=16_384)(self._lookup)

    def _read_answers(self, knowledge: Knowledge) -> None:
        self._systems = frozenset({LOCAL_SYSTEM, *(code.system for code in knowledge.codes)})
        self._answers: dict[Coding, Answer] = {}
        self._sides: dict[Coding, str] = {}
        self._sites: dict[Coding, frozenset[str]] = {}
        self._questions: dict[Coding, Question] = {}
        self._none_recorded: set[Coding] = set()
        for code in knowledge.answers:
            key = (code.system, code.code)
            if code.concept.startswith("site:"):
                self._sites[key] = self._sites.get(key, _NOWHERE) | {code.concept.removeprefix("site:")}
            elif code.concept == "side":
                self._sides[key] = code.side
            elif code.concept in _ASKING:
                self._questions[key] = _ASKING[code.concept]
            elif code.concept == "none-recorded":
                self._none_recorded.add(key)
            else:
                self._answers[key] = {"yes": Answer.YES, "no": Answer.NO, "unknown": Answer.UNKNOWN}[code.concept]
        for system, answers in _HL7_ANSWERS.items():
            self._answers.update({(system, code): answer for code, answer in answers.items()})

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

    def knows(self, system: str) -> bool:
        """Whether the knowledge has codes of this system, however it is written."""
        return system_of(system) in self._systems

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
        named = list(sites)
        for site in sites:
            if "extension" in site:
                named += qualifiers(site)
        given = [coding for concept in named for coding in codings(concept)]
        added = codings(code) if coded is None else coded
        if isinstance(code, dict) and "extension" in code:
            added = [*added, *(coding for qualifier in qualifiers(code) for coding in codings(qualifier))]
        places = _NOWHERE
        for coding in (*given, *added):
            if coding in self._sites:
                places = places | self._sites[coding]
        for group in (given, added):
            if sides := {self._sides[coding] for coding in group if coding in self._sides}:
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

    def medicines(self, concept: object) -> list[Recognised]:
        """What a medicine is recognised as: by its codes, and by its names where no code tells that already."""
        coded = [Recognised(row) for row in self._of_kind(concept, "medication")]
        return [*coded, *self._beside(coded, concept, self.named_medicines(concept))]

    def allergies(self, concept: object) -> list[Recognised]:
        """What an allergy is recognised as: by its codes and by those of medicines, then by names of medicines."""
        rows = self._of_kind(concept, "allergy")
        rows += [row for of in self._of_kind(concept, "medication") for row in self._allergies.get(of.concept, ())]
        coded = [Recognised(row) for row in {row.concept: row for row in rows}.values()]
        named = self.named_medicines(concept, on_the_skin=True)
        to = {row.concept: row for of in named for row in self._allergies.get(of.concept, ())}
        return [*coded, *self._beside(coded, concept, list(to.values()))]

    def _of_kind(self, concept: object, kind: str) -> list[Code]:
        return [row for row in self.rows(concept) if self.findings[row.concept].kind == kind]

    def _beside(self, coded: Sequence[Recognised], concept: object, named: Sequence[Code]) -> Iterator[Recognised]:
        """What is recognised by its name and not by a code."""
        known = {one.row.concept for one in coded}
        doubtful = any(_TAKEN_BACK.search(text.lower()) for text in words_of(concept))
        yield from (Recognised(row, True, doubtful) for row in named if row.concept not in known)

    def names_something(self, concept: object) -> bool:
        """Whether a name, a code that is known here, or a statement that there is none can be read of it.

        A name that is none of ours is that of another medicine or allergy. Letters of other scripts are not read.
        """
        if self.rows(concept) or any(self._is_none_recorded(coding) for coding in codings(concept)):
            return True
        words = (word for text in words_of(concept) for word in _LETTERS.findall(text.lower()))
        return not all(map(_NAMELESS.fullmatch, words))

    def _is_none_recorded(self, coding: Coding) -> bool:
        return coding in self._none_recorded or coding[0] == ABSENT_OR_UNKNOWN

    def named_medicines(self, concept: object, *, on_the_skin: bool = False) -> list[Code]:
        """What a medicine names in words: ingredients, brands and classes.

        What is put on the skin is left out unless it is asked for: it is not taken with the others.
        """
        texts = [" ".join(re.findall(r"[a-z]+", text.lower())) for text in words_of(concept)]
        words = [word for text in texts for word in _WORD.findall(text)]
        if not on_the_skin and not _ON_THE_SKIN.isdisjoint(words):
            return []
        words += [name for name, phrase in self._phrases.items() if any(f" {phrase} " in f" {text} " for text in texts)]
        return list({row.concept: row for word in words for row in self._medicines.get(word, ())}.values())

    def complaints_in_words(self, concept: object) -> list[Code]:
        """The complaints that a concept is called, word for word but for the side; none where a word of it doubts."""
        words = [text for text in words_of(concept) if text]
        if any(map(in_doubt, words)):
            return []
        found: dict[str, Code] = {}
        for name, written in map(without_side, words):
            side = one_side(sides_in(f"({written})")) if written else NO_SIDE
            for finding in self._complaints.get(name, ()):
                if finding not in found or not found[finding].side:
                    found[finding] = Code(finding, "", "", "exact", side, "", "")
        return list(found.values())

    def names_of(self, finding: str) -> frozenset[str]:
        """The words by which the medicines of this finding are recognised."""
        return frozenset(word for word, rows in self._medicines.items() if any(row.concept == finding for row in rows))


def answer_in_words(text: str) -> Answer:
    """What a text answers that is nothing but one word of yes, no or unknown."""
    return _WORDS.get(text.strip().lower(), Answer.UNREADABLE)


def _medicines_by_name(knowledge: Knowledge) -> dict[str, list[Code]]:
    """One medicine may be several findings: warfarin is also an anticoagulant."""
    found: dict[str, list[Code]] = {}
    coded: dict[str, list[Code]] = {}
    for code in knowledge.codes:
        if knowledge.findings[code.concept].kind == "medication" and code.system == RXNORM:
            found.setdefault(_WORD.findall(code.display.lower())[0], []).append(code)
            coded.setdefault(code.code, []).append(code)
    for name, medicine in knowledge.medicine_names.items():
        rows = [Code(finding, LOCAL_SYSTEM, finding, "exact", "", "", name) for finding in medicine.findings]
        found.setdefault(name, []).extend((*coded.get(medicine.of, ()), *rows))
    return found


def _allergies_by_medicine(knowledge: Knowledge) -> dict[str, list[Code]]:
    """The allergies that an allergy to a medicine is, by the finding of the medicine."""
    found: dict[str, list[Code]] = {}
    for allergy in knowledge.findings.values():
        for medicine in allergy.allergy_to:
            row = Code(allergy.id, LOCAL_SYSTEM, allergy.id, "exact", "", "", "")
            found.setdefault(medicine, []).append(row)
    return found


def _complaints_in_words(knowledge: Knowledge) -> dict[str, frozenset[str]]:
    """Titles, causes, displays and synonyms, without their sides -> the complaints that are called so."""
    called = [(finding.title, finding.id) for finding in knowledge.findings.values()]
    called += [(cause.title, f"diagnosed-{id_}") for id_, cause in knowledge.causes.items()]
    called += [(code.display, code.concept) for code in knowledge.codes if not code.site]
    called += [(words, synonym.of) for words, synonym in knowledge.synonyms.items()]
    found: dict[str, frozenset[str]] = {}
    for words, id_ in called:
        finding = knowledge.findings.get(id_)
        if finding and finding.defines_complaint and finding.kind in KINDS_IN_WORDS and not in_doubt(words):
            name = without_side(words)[0]
            found[name] = found.get(name, _NOWHERE) | {id_}
    return found


def _in_range(code: str, bounds: str) -> bool:
    first, last = bounds.split("-")
    return len(code) >= len(first) and first <= code[:3] <= last
