"""The questions of the knowledge as items of a Questionnaire, and their answers as items of a QuestionnaireResponse.

A group is one question, asked of one side or of the patient as a whole; its items are the findings that it is about.
The linkId of an item is what the reader of forms reads back: `left/pop-at-injury`, `right/pop-at-injury`, `age`.
The first group asks where the pain is, with the side beside it: `where/side`, `where/buttock-pain`.
Specification: FHIR R4 Questionnaire and QuestionnaireResponse; SDC, Advanced Form Rendering and Adaptive Forms.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from math import isfinite
from typing import Any, NamedTuple, TypeAlias

from service.answers.muting import unasked
from service.chart.elements import BILATERAL, LEFT, NO_SIDE, RIGHT
from service.knowledge_model.model import LOCAL_SYSTEM, Finding, in_a_sentence
from service.knowledge_model.quantity import UCUM
from service.reasoning.assessment import Assessment, Assessor
from service.reasoning.questions import DECIDING
from service.release.muting import NOTHING, Muted
from service.second_opinion.answers import NO, SIDE, SIDES, UNKNOWN, YES, Item, Vocabulary, definition_of
from service.second_opinion.open_items import open_items

Json: TypeAlias = dict[str, Any]
NONE_OF_THESE, AGE = "none-of-these", "age"
_WHERE = "where"
_EXTENSION = "http://hl7.org/fhir/StructureDefinition/"
_SDC = "http://hl7.org/fhir/uv/sdc/StructureDefinition/"


class Group(NamedTuple):
    """A question about one side, or with NO_SIDE about the patient: its findings that are not known yet, and what an
    answer can change (terms of questions.toml). link_id: what the linkId of the group ends with.
    """

    link_id: str
    side: str
    ask: str
    findings: tuple[str, ...]
    changes: tuple[str, ...] = ()

    @property
    def locates(self) -> bool:
        """Whether it asks where the pain is."""
        return self.link_id == _WHERE


class Answer(NamedTuple):
    """An answer to one item: a finding, SIDE or NONE_OF_THESE; and the name and content of value[x] of FHIR."""

    group: Group
    item: str
    member: str
    value: Any


def link_of(group: Group, item: str) -> str:
    """The linkId of an item of a group."""
    if item == NONE_OF_THESE:
        return f"{link_of_group(group)}/{NONE_OF_THESE}"
    if group.locates:
        return f"{_WHERE}/{item}"
    return Item(item, group.side).key


def link_of_group(group: Group) -> str:
    """The linkId of a group."""
    return Item(group.link_id, group.side).key


class Form:
    """The questions of one body of knowledge; made once."""

    def __init__(self, assessor: Assessor) -> None:
        self.assessor, self.knowledge = assessor, assessor.knowledge
        vocabulary = Vocabulary(self.knowledge)
        self.answers = [vocabulary.coding(each) for each in (YES, NO, UNKNOWN)]
        self.sides = [vocabulary.coding(each) for each in SIDES]
        findings = self.knowledge.findings
        locating = tuple(f.id for f in findings.values() if f.defines_complaint and f.kind == "symptom")
        self.where = Group(_WHERE, NO_SIDE, "Where is the pain?", locating)
        # linkId of a group, without its side -> what it asks, and all findings that it may ask for.
        self._asked_by: dict[str, tuple[str, tuple[str, ...]]] = {_WHERE: (self.where.ask, locating)}
        for question in self.knowledge.questions:
            self._asked_by[_named(question.findings, again=question.first)] = (question.ask, question.findings)

    def next_groups(self, assessment: Assessment, answered: Collection[str], muted: Muted = NOTHING) -> list[Group]:
        """The groups of the next screen, best first; none where no answer changes urgency, imaging or a referral.

        answered: the findings that have an answer in this form, also that nobody knows; muted: what is not
        said, so that nothing is asked for its sake.
        """
        decision, groups = assessment.decision, list[Group]()
        if decision is None:
            return groups
        case = decision.charts.case
        sides = [side for side in case.sides() if side != BILATERAL] or [LEFT, RIGHT]
        questions = self.assessor.questions
        answered = frozenset(answered) | unasked(self.assessor.reads, muted)
        if questions.can_change(decision, answered, muted.ids).isdisjoint(DECIDING):
            return groups
        for asked in questions.ask(decision, answered, muted.ids):
            question = self.knowledge.questions[questions.number_of(asked)]
            name = _named(question.findings, again=question.first)
            items = [
                item for item in open_items(assessment, self.knowledge, question, sides) if item.finding not in answered
            ]
            if len(sides) == 1 and any(item.side for item in items):
                items = [item._replace(side=sides[0]) for item in items]
            for side in (*sides, NO_SIDE):
                if open_ := tuple(item.finding for item in items if item.side == side):
                    groups.append(Group(name, side, question.ask, open_, asked.changes))
        return groups

    def link_ids(self) -> tuple[str, ...]:
        """The linkIds of all groups, without a side; that of where the pain is comes first."""
        return tuple(self._asked_by)

    def group_of(self, link_id: str) -> Group | None:
        """The group of this linkId with all that it may ask for; None where there is no such group."""
        head, _slash, tail = link_id.rpartition("/")
        if head not in (NO_SIDE, LEFT, RIGHT) or tail not in self._asked_by or (head and tail == _WHERE):
            return None
        ask, findings = self._asked_by[tail]
        return Group(tail, head, ask, findings)

    # -- Questionnaire ------------------------------------------------------------------------------------------------

    def item_of_group(self, group: Group, *, closed: bool = False) -> Json:
        """The item of a Questionnaire that is this group, with its own items; `closed`: no more is asked in it."""
        items = [self._item(group, finding) for finding in group.findings]
        if group.locates:
            items.insert(0, _choice(link_of(group, SIDE), "Which side?", self.sides))
        elif not closed and sum(item["type"] == "choice" for item in items) > 1:
            none = {"linkId": link_of(group, NONE_OF_THESE), "text": "None of these", "type": "boolean"}
            items.append(none)
        side = {LEFT: "Left: ", RIGHT: "Right: "}.get(group.side, "")
        text = f"{side}{in_a_sentence(group.ask)}" if side else group.ask
        return {"linkId": link_of_group(group), "text": text, "type": "group", "item": items}

    def _item(self, group: Group, name: str) -> Json:
        link_id = link_of(group, name)
        if name == AGE:
            return {"linkId": link_id, "text": "Date of birth, or the year", "type": "date"}
        finding = self.knowledge.findings[name]
        coding = {"system": LOCAL_SYSTEM, "code": name, "display": finding.title}
        known: Json = {"definition": definition_of(name), "code": [coding]}
        if finding.value == "boolean":
            return {**_choice(link_id, finding.title, self.answers), **known}
        item = {"linkId": link_id, "text": finding.title, "type": finding.value, **known}
        return {**item, "extension": list(_limits(finding))} if finding.value == "quantity" else item

    # -- QuestionnaireResponse ----------------------------------------------------------------------------------------

    def response_items(self, answers: Iterable[Answer]) -> list[Json]:
        """The items of a QuestionnaireResponse with these answers: the groups in the order of the answers, the items of
        each in that of the form, as FHIR asks.
        """
        groups: dict[str, list[Answer]] = {}
        for answer in answers:
            groups.setdefault(link_of_group(answer.group), []).append(answer)
        return [
            {"linkId": link_id, "item": [self._response_item(answer) for answer in sorted(given, key=_place)]}
            for link_id, given in groups.items()
        ]

    def _response_item(self, answer: Answer) -> Json:
        item: Json = {"linkId": link_of(answer.group, answer.item)}
        if answer.item in self.knowledge.findings:
            item["definition"] = definition_of(answer.item)
        return {**item, "answer": [{answer.member: answer.value}]}

    def with_none_of_these(self, answers: Sequence[Answer]) -> list[Answer]:
        """The answers, with a no to each item of a group that has none, in the place of "none of these".

        The group of an answer is the one that was shown. An answer beside "none of these" stands.
        """
        given = {link_of(answer.group, answer.item) for answer in answers}
        found = [answer for answer in answers if answer.item != NONE_OF_THESE]
        no = self.answers[1]
        for answer in answers:
            if answer.item == NONE_OF_THESE and answer.value is True:
                found += [
                    Answer(answer.group, finding, "valueCoding", no)
                    for finding in answer.group.findings
                    if self.is_choice(finding) and link_of(answer.group, finding) not in given
                ]
        return found

    def is_choice(self, finding: str) -> bool:
        """Whether the answer is yes, no or unknown."""
        return finding != AGE and self.knowledge.findings[finding].value == "boolean"


def _place(answer: Answer) -> int:
    """Where an item stands in its group: the side first, "none of these" last."""
    findings = answer.group.findings
    return findings.index(answer.item) if answer.item in findings else -1 if answer.item == SIDE else len(findings)


def _named(findings: Sequence[str], *, again: bool) -> str:
    """The name of a question in a linkId; `again`: it asks once more for what is recorded in two ways."""
    return f"ask-again-{findings[0]}" if again else f"ask-{findings[0]}"


def _choice(link_id: str, text: str, options: Iterable[Json]) -> Json:
    return {
        "linkId": link_id,
        "text": text,
        "type": "choice",
        "answerOption": [{"valueCoding": each} for each in options],
    }


def _limits(finding: Finding) -> Iterator[Json]:
    """The unit of a quantity, and what it can be at all."""
    unit = {"system": UCUM, "code": finding.unit}
    yield {"url": f"{_EXTENSION}questionnaire-unitOption", "valueCoding": {**unit, "display": finding.unit}}
    for name, bound in (("minQuantity", finding.plausible.low), ("maxQuantity", finding.plausible.high)):
        if isfinite(bound):
            yield {"url": f"{_SDC}sdc-questionnaire-{name}", "valueQuantity": {"value": bound, **unit}}
