"""QuestionnaireResponse -> what it asserts: which finding each item asks for, on which side, and what it is answered.

An item asks for a finding by its linkId, its definition or a code, its own or that of the Questionnaire which the
response contains. Its side stands in the linkId, in the title or the code of the item or of a group around it, in the
answer, or in an item beside it that asks for the side. Where a form has sides in a way that is not plain, its answers
count without one and say so, because an answer for the wrong side is worse than one without.
Specification: FHIR R4, QuestionnaireResponse; Questionnaire.item.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from msgspec import structs

from service.chart.assertions import (
    PRESENT,
    PROVISIONAL,
    SIDE_UNREADABLE,
    UNKNOWN,
    UNREADABLE,
    Assertion,
    Reading,
    ReadValue,
    Source,
    answered,
    found_in,
    read_value,
)
from service.chart.codes import Answer, answer_in_words
from service.chart.elements import (
    BILATERAL,
    NO_SIDE,
    Given,
    NoValue,
    as_dict,
    as_text,
    changed_by,
    dated,
    each,
    one_side,
    reference_to,
    sides_in,
    statuses,
    value_of,
    words_of,
)
from service.knowledge_model.model import LOCAL_SYSTEM, Code

_DEPTH = 20
_NOT_EVIDENCE = frozenset({"entered-in-error", "stopped"})

_SIDE = r"left|right|lt|rt|bilateral|both"
# What stands beside a side, wherever the pain is.
_OF_ANY_PLACE = ("side", "leg", "limb", "extremit*")
# "right now" is no side.
_NOT_A_SIDE = r"(?!\W+(?:now|away|after|before|angles?|handed)\b)"
_LETTERS = {"l": "left", "r": "right"}
_SIDE_WORDS = frozenset(_SIDE.split("|"))
# The side of something else than the pain.
_ANOTHER_SIDE = re.compile(
    r"dominan|handed|\bkick|prefer|opposite|\bother\b|contralateral|unaffected|healthy|surg|operat|prosth|replac|implant"
    r"|histor|previous|sleep|\blie\b|\blying\b",
    re.IGNORECASE,
)
_OF_OTHERS = re.compile(r"\b(?:famil|mother|father|sibling|brother|sister|relative|donor|newborn)", re.IGNORECASE)
_PARTS = re.compile(r"[/#|.:]")
_BETWEEN_WORDS = re.compile(r"[-_ ]+|(?<=[a-z0-9])(?=[A-Z])")


class _SideWords:
    """How texts name a side beside words for a part of the body: those of any place, and those of one body of
    knowledge."""

    def __init__(self, body_words: Sequence[str]) -> None:
        words = (word.replace("*", r"\w*") if "*" in word else f"{word}s?" for word in (*_OF_ANY_PLACE, *body_words))
        body = "|".join(words)
        # A title names a side plainly where it begins or ends with it, has it in brackets or before a part of the body.
        self._title = re.compile(
            rf"^\W*({_SIDE})\b{_NOT_A_SIDE}|\b({_SIDE})(?:\W+side)?\W*$|\(({_SIDE})\)"
            rf"|\b({_SIDE})(?:[\W_]sided)?\W+(?:{body})\b",
            re.IGNORECASE,
        )
        self._answered = re.compile(
            rf"(?:on )?(?:the )?({_SIDE}|l|r)(?:[- ]sided)?(?: (?:{body}))?(?: only)?\.?", re.IGNORECASE
        )
        self._asking = re.compile(
            rf"\bsides?\b(?! effect)|\blateralit|\bwhich (?:{body})\b|\b(?:where|location|site|affected|painful)\b",
            re.IGNORECASE,
        )

    def in_title(self, text: str) -> frozenset[str]:
        return sides_in(" ".join(word for found in self._title.findall(text) for word in found))

    def in_answer(self, texts: Iterable[str]) -> str:
        """The side that one of these texts is, and nothing else."""
        for text in texts:
            if whole := self._answered.fullmatch(text.strip()):
                word = whole[1].lower()
                return one_side(sides_in(_LETTERS.get(word, word)))
        return NO_SIDE

    def asked_for(self, text: str) -> bool:
        return self._asking.search(text) is not None


# One for each knowledge.
_side_words = cache(_SideWords)


@dataclass(frozen=True, slots=True)
class _Name:
    """What a linkId names: a finding or none, the sides beside it, and those that a letter may mean."""

    finding: str
    sides: frozenset[str]
    guesses: frozenset[str]
    # Whether it is nothing but a side, as "left" below the item of a test.
    bare: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an item stands."""

    source: Source
    # The side that the groups around it name; that of an item which asks for it, where no group does.
    side: str = NO_SIDE
    otherwise: str = NO_SIDE
    unreadable: bool = False
    # It is in a group about somebody else.
    of_others: bool = False
    # What the item around it asks for, where that has no answer itself.
    asked: tuple[Code, ...] = ()

    def within(self, sides: set[str], *, unreadable: bool) -> _Place:
        """The place within an item that names these sides itself; what is on both sides may be told apart within."""
        if not sides or unreadable:
            return replace(self, unreadable=self.unreadable or unreadable)
        side = one_side(sides)
        contradicts = len(sides) > 1 or self.side not in (NO_SIDE, BILATERAL, side)
        # A side that is plain outweighs a guess around it.
        return replace(self, side=side, unreadable=contradicts or (self.unreadable and bool(self.side)))

    def beside(self, sides: set[str], *, unreadable: bool) -> _Place:
        """The place beside items that were answered with these sides."""
        if unreadable or (self.side and sides and one_side(sides) != self.side):
            return replace(self, unreadable=True)
        return replace(self, otherwise=one_side(sides)) if sides else self


@dataclass(frozen=True, slots=True)
class _Reply:
    source: Source
    finding: str
    value: ReadValue
    side: str
    unreadable: bool


def questionnaire_response(resource: Mapping[str, Any], reading: Reading) -> Iterator[Assertion]:
    """What a form asserts, all of its answers."""
    status = statuses(resource.get("status"))
    if status & _NOT_EVIDENCE:
        return
    remarks = (PROVISIONAL,) if "in-progress" in status else ()
    time = dated(resource, ("authored",))
    source = Source(reading, reference_to(resource), time, remarks, changed_by(resource))
    form = _Form(reading, _items_of_questionnaire(resource))
    form.read(each(resource.get("item")), _Place(source), 0)
    yield from form.assertions()


def _items_of_questionnaire(resource: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The items, by linkId, of the Questionnaire that this response contains and answers."""
    answers = resource.get("questionnaire")
    named = as_text(as_dict(answers).get("reference") or answers).partition("|")[0]
    items: dict[str, dict[str, Any]] = {}
    for contained in each(resource.get("contained")):
        is_named = not named or named in (f"#{as_text(contained.get('id'))}", contained.get("url"))
        if contained.get("resourceType") == "Questionnaire" and is_named:
            level = each(contained.get("item"))
            for _ in range(_DEPTH if level else 0):
                items = {**{as_text(item.get("linkId")): item for item in level}, **items}
                level = [inner for item in level for inner in each(item.get("item"))]
    return items


class _Form:
    """The reading of one form."""

    def __init__(self, reading: Reading, questionnaire: Mapping[str, dict[str, Any]]) -> None:
        self.index, self.questionnaire = reading.index, questionnaire
        self.words = _side_words(self.index.body_words)
        self.replies: list[_Reply] = []
        # How many items ask for a finding without a side that can be read.
        self.asked_without_side: Counter[str] = Counter()

    def read(self, items: Sequence[dict[str, Any]], place: _Place, depth: int) -> None:
        """All items of one level and what is below them."""
        sides, unreadable = self._sides_asked_for(items)
        place = place.beside(sides, unreadable=unreadable)
        for item in items:
            self._read_item(item, place, depth)

    def assertions(self) -> Iterator[Assertion]:
        for reply in self.replies:
            source, finding = reply.source, self.index.findings[reply.finding]
            # Asked for twice and never with a side, it is each time for one of them.
            without = reply.unreadable or (not reply.side and self.asked_without_side[reply.finding] > 1)
            if without and not finding.whole_patient:
                source = structs.replace(source, remarks=(*source.remarks, SIDE_UNREADABLE))
            yield from source.states(reply.finding, reply.value, NO_SIDE if without else reply.side)

    # -- items --------------------------------------------------------------------------------------------------------

    def _read_item(self, item: dict[str, Any], above: _Place, depth: int) -> None:
        name, concept, answers = self._name(item), self._concept(item), each(item.get("answer"))
        below = [*each(item.get("item")), *(inner for answer in answers for inner in each(answer.get("item")))]
        place = self._place(item, name, concept, above)
        rows = self._asked(name, concept, place)
        if not rows and above.asked and (name.bare or self.words.in_answer([concept["text"]])):
            rows = above.asked
        inner = replace(place, asked=rows if not answers else ())
        if rows:
            # An item below it may ask on which side that is.
            sides, unreadable = self._sides_asked_for(below)
            place = place.beside(sides, unreadable=unreadable)
            if not (place.side or place.otherwise) and (answers or not below):
                self.asked_without_side.update({row.concept for row in rows})
        for answer in answers:
            self._read_answer(rows, concept, answer, place)
        if depth < _DEPTH and below:
            self.read(below, inner, depth + 1)

    def _place(self, item: Mapping[str, Any], name: _Name, concept: Mapping[str, Any], above: _Place) -> _Place:
        """The place of an item: its sides, whether it is about somebody else, what changes its meaning."""
        titles = [text for text in words_of(concept) if text]
        in_titles = {side for text in titles if len(sides := self.words.in_title(text)) == 1 for side in sides}
        rows = {row.side for row in self.index.rows(concept) if row.side}
        coded = self.index.place((), concept)[0]
        plain = in_titles | name.sides | rows | ({coded} - {NO_SIDE})
        # A letter is no more than a guess, and where something plain agrees with it none.
        place = above.within(plain, unreadable=not name.guesses <= plain)
        if changed := changed_by(item):
            place = replace(place, source=structs.replace(place.source, changed=place.source.changed or changed))
        return replace(place, of_others=place.of_others or any(map(_OF_OTHERS.search, titles)), asked=())

    def _name(self, item: Mapping[str, Any]) -> _Name:
        linked = self._read_name(as_text(item.get("linkId")))
        if linked.finding:
            return linked
        for of in (item, self._defined(item)):
            definition = as_text(of.get("definition"))
            if definition and (named := self._read_name(re.split(r"[/#|]", definition)[-1])).finding:
                return _Name(named.finding, linked.sides | named.sides, linked.guesses | named.guesses)
        return linked

    def _read_name(self, written: str) -> _Name:
        """The finding that the last part of a linkId names, and the sides that stand before or after it."""
        parts = [[word.lower() for word in _BETWEEN_WORDS.split(part) if word] for part in _PARTS.split(written)]
        parts = [words for words in parts if words]
        sides: set[str] = set()
        guesses: set[str] = set()
        bare = False
        while parts and parts[-1] and set(parts[-1]) <= _SIDE_WORDS:
            sides |= sides_in(" ".join(parts.pop()))
            bare = not parts
        finding = ""
        if parts:
            last = parts.pop()
            for words, around in ((last, []), (last[1:], last[:1]), (last[:-1], last[-1:])):
                if "-".join(words) in self.index.findings and (not around or _is_side(around[0])):
                    finding, last = "-".join(words), around
                    break
            parts.append(last)
        for words in parts:
            ends = {*words[:1], *words[-1:]} if finding or len(words) < 4 else set()
            sides |= sides_in(" ".join(ends & _SIDE_WORDS))
            if finding or len(words) == 1:
                guesses |= {_LETTERS[word] for word in ends & _LETTERS.keys()}
        return _Name(finding, frozenset(sides), frozenset(guesses), bare)

    def _defined(self, item: Mapping[str, Any]) -> dict[str, Any]:
        return self.questionnaire.get(as_text(item.get("linkId")), {})

    def _concept(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """The codes and the words of an item as one concept."""
        defined = self._defined(item)
        codes = [*each(item.get("code")), *each(defined.get("code"))]
        for extension in each(item.get("extension")):
            if "code" in as_text(extension.get("url")).rpartition("/")[2].lower():
                codes += each(extension.get("valueCoding"))
                codes += each(as_dict(extension.get("valueCodeableConcept")).get("coding"))
        texts = dict.fromkeys(filter(None, (as_text(of.get("text")).strip() for of in (item, defined))))
        return {"coding": codes, "text": " ".join(texts)}

    def _asked(self, name: _Name, concept: Mapping[str, Any], place: _Place) -> tuple[Code, ...]:
        """What an item asks for."""
        if name.finding:
            return tuple(self.index.lookup(LOCAL_SYSTEM, name.finding))
        if place.of_others:
            return ()
        at = self.index.place((), concept)[1]
        return tuple(
            row
            for row in self.index.rows(concept)
            if (row.system == LOCAL_SYSTEM or self.index.findings[row.concept].kind not in ("medication", "allergy"))
            and (not row.site or row.site in at)
        )

    # -- answers ------------------------------------------------------------------------------------------------------

    def _read_answer(
        self, rows: Sequence[Code], concept: Mapping[str, Any], answer: Mapping[str, Any], place: _Place
    ) -> None:
        if changed := changed_by(answer):
            place = replace(place, source=structs.replace(place.source, changed=place.source.changed or changed))
        given = value_of(answer)
        for row in rows:
            value, side = self._value(given, row)
            self._reply(row.concept, value, side, place)
        if rows or place.of_others:
            return
        question = self.index.question(concept)
        for row in found_in(given, self.index):
            if (value_of_row := answered(row, question, None, self.index)) is not None and not row.site:
                self._reply(row.concept, value_of_row, row.side, place)

    def _reply(self, finding: str, value: ReadValue, answered_side: str, place: _Place) -> None:
        """A side in the answer itself is told apart from one around it only where both agree."""
        around = place.side or place.otherwise
        contradicts = bool(answered_side and place.side) and place.side not in (answered_side, BILATERAL)
        unreadable = contradicts or (place.unreadable and not answered_side)
        self.replies.append(_Reply(place.source, finding, value, answered_side or around, unreadable))

    def _value(self, given: Given | NoValue, row: Code) -> tuple[ReadValue, str]:
        """What an answer tells of the finding that was asked for, and on which side where it tells that too."""
        if not isinstance(given, Given):
            return (UNREADABLE if given is NoValue.UNREADABLE else UNKNOWN), NO_SIDE
        for found in found_in(given, self.index):
            if found.concept == row.concept:
                return PRESENT, found.side
        finding = self.index.findings[row.concept]
        if finding.value == "boolean" and (side := self._side_of(given)):
            return PRESENT, side
        return read_value(given, finding, self.index), NO_SIDE

    def _side_of(self, given: Given) -> str:
        """The side that an answer is; none where it is anything else."""
        if given.kind == "CodeableConcept":
            if found_in(given, self.index):
                return NO_SIDE
            return self.index.place((), given.content)[0] or self.words.in_answer(words_of(given.content))
        return self.words.in_answer([given.content]) if given.kind in ("String", "Code") else NO_SIDE

    def _sides_asked_for(self, items: Sequence[dict[str, Any]]) -> tuple[set[str], bool]:
        """The sides with which items of one level are answered that ask for nothing else; whether any is not plain."""
        found: list[str] = []
        unreadable = False
        for item in items:
            concept = self._concept(item)
            if self._name(item).finding or self.index.rows(concept):
                continue
            given = [value for answer in each(item.get("answer")) if isinstance(value := value_of(answer), Given)]
            sides = {self._side_of(value) for value in given}
            asking = f"{concept['text']} {' '.join(_BETWEEN_WORDS.split(as_text(item.get('linkId'))))}"
            asks = self.words.asked_for(asking)
            if not given or _ANOTHER_SIDE.search(asking):
                continue
            if NO_SIDE in sides:
                unreadable = unreadable or (asks and any(map(_may_be_a_side, given)) and not _is_place(asking))
            elif asks:
                found.append(one_side(sides))
            elif sides != {BILATERAL}:
                unreadable = True
        return set(found), unreadable or len(set(found)) > 1


def _is_side(word: str) -> bool:
    return word in _SIDE_WORDS or word in _LETTERS


def _is_place(asking: str) -> bool:
    """Whether what is asked for is where something is, to which a side is one answer of many."""
    return not re.search(r"\bsides?\b|\blateralit", asking, re.IGNORECASE)


def _may_be_a_side(given: Given) -> bool:
    """Whether an answer to the question of the side is one that is merely not known here."""
    if given.kind in ("String", "Code"):
        return answer_in_words(given.content) is Answer.UNREADABLE
    return given.kind == "CodeableConcept"
