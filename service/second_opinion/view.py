"""What stands on the page, as its template reads it. No clinical sentence is written here: the knowledge has them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from markupsafe import Markup

from cds_hooks import Card
from service.access.smart_app import FORM, NOTE, SINGLE
from service.answers.card_lines import as_people_write
from service.chart.assertions import Assertion
from service.chart.patient import name_and_birth
from service.knowledge_model.conditions import Interval, Value
from service.knowledge_model.model import Knowledge
from service.knowledge_model.vocabulary import INDICATORS
from service.pages.card_text import as_html, as_text
from service.pages.plots import Balance, Mark, balance, time_line
from service.prefetch_keys import kind_of
from service.reasoning.evidence import with_unit
from service.reasoning.questions import DECIDING, SingleAnswers
from service.reasoning.visit_limits import limit_of
from service.second_opinion.answers import NO, SIDES, UNKNOWN, YES, Answers, Item, Vocabulary
from service.second_opinion.drafting import Proposal
from service.second_opinion.opinion import Group, Opinion, Opinions
from service.second_opinion.saving import Saved
from service.services.evaluation import chart_of

# The days since an injury at which advice changes, as the knowledge counts them.
_DAYS = (0, 3, 7, 14, 42)
# Of a time line: so many marks, and so many findings named in one of them.
_MARKS, _NAMED = 10, 2
_FOUND, _IMAGED, _DUE = 0, 1, 4
# The bands of causes that are drawn; the others stand in the table.
_DRAWN = ("leads", "possible")
_SAVED_AS = {
    FORM: "one form (QuestionnaireResponse)",
    SINGLE: "one Observation for each answer",
    NOTE: "a note (DocumentReference), which the next card cannot read",
}
_REFUSALS = {
    401: "the access is over",
    403: "the EHR does not allow it",
    404: "the EHR has no place for it",
    405: "the EHR does not take it",
    422: "the EHR does not accept it",
    429: "the EHR is busy",
}
_CAME = frozenset({"supplied", "fetched", "empty", "null"})


class Answering(NamedTuple):
    """Where a page stands: the answers so far, the side that was chosen, the questions on the screen, the findings that
    were asked for on screens before, and whether enough was asked."""

    answers: Answers
    side: str = ""
    shown: tuple[Group, ...] = ()
    asked: frozenset[str] = frozenset()
    enough: bool = False
    # What of the answers is saved, how often that was, and how often the next saving was tried.
    kept: Answers = MappingProxyType({})
    saves: int = 0
    attempt: int = 0
    # The orders that were drafted from here, id -> reference, and how often the next drafting was tried.
    drafted: Mapping[str, str] = MappingProxyType({})
    drafts: int = 0


@dataclass(frozen=True)
class ShownCard:
    """A card, and what it said before the last answer where that was something else; `new`: it was not there."""

    indicator: str
    summary: str
    detail: Markup
    before: str
    new: bool


class View:
    """Makes what stands on a page by one body of knowledge."""

    def __init__(self, opinions: Opinions, vocabulary: Vocabulary) -> None:
        self.opinions, self.vocabulary = opinions, vocabulary
        self.knowledge: Knowledge = opinions.knowledge

    def page(self, chart: Opinion, opinion: Opinion, before: Opinion | None, at: Answering) -> dict[str, Any]:
        """`chart` is without the answers of the page, `opinion` with them, `before` without the last of them."""
        cards, gone = _changes(opinion, before)
        muted, now = opinion.evaluation.muted, opinion.evaluation.now
        return {
            "knowledge": self.knowledge,
            "patient": self._patient(chart),
            "missing": self._missing(chart),
            "cards": cards,
            "gone": gone,
            "changed": before is not None and (bool(gone) or any(each.new or each.before for each in cards)),
            "answered_now": before is not None,
            "groups": [made for group in at.shown if (made := self._group(chart, group, at))["items"]],
            "suspended": " ".join(self.opinions.evaluator.names_suspended(muted, now)),
            "sides": self._sides(chart, at),
            "service_suspended": opinion.is_suspended,
            "emergency": opinion.is_emergency,
            "advises_at_once": any(each.indicator == INDICATORS[0] for each in opinion.spoken.fired),
            "complaint": opinion.evaluation.assessment.complaint,
            **self._left(opinion, at),
            **self._why(chart, opinion),
            "chart": list(self._chart(chart, at)),
            "contradictory": [self.knowledge.title_of(name) for name in opinion.evaluation.assessment.contradictory],
            "unreadable": [
                self.knowledge.title_of(one.finding)
                for one in opinion.evaluation.assessment.not_readable
                if isinstance(one, Assertion)
            ],
            "note": self.note(opinion, at),
            "answered": [self.vocabulary.in_words(item, answer) for item, answer in at.answers.items()],
            "safety_net": self.knowledge.wording.sentences["safety_net"],
            "why": next(
                (link.url for each in opinion.answered.advised for link in each.card.links if link.type == "absolute"),
                "",
            ),
        }

    def saving(self, kind: str, at: Answering, saved: Saved | None) -> dict[str, Any]:
        """What the page says of saving: whether it can be done, and what came of it."""
        open_ = sum(at.kept.get(item) != answer for item, answer in at.answers.items())
        return {
            "save_as": _SAVED_AS.get(kind, ""),
            "to_save": len(at.answers) if open_ else 0,
            "told": _told(saved),
            "as_note": kind == NOTE,
        }

    def drafting(
        self, opinion: Opinion, proposals: Iterable[Proposal], at: Answering, drafted: Saved | None, *, may_draft: bool
    ) -> dict[str, Any]:
        """What the page says of orders: what they are, whether they can be drafted, and what came of it."""
        placed = {order.reference for order in opinion.evaluation.on_chart.placed}
        orders = [
            {
                "id": each.id,
                "label": each.label,
                "because": each.because,
                "reasons": each.reasons,
                "reference": at.drafted.get(each.id, ""),
                "placed": at.drafted.get(each.id, "") in placed,
                "can": may_draft and bool(each.resource) and each.id not in at.drafted,
            }
            for each in proposals
        ]
        advised = {order["id"] for order in orders}
        # What somebody has signed is no longer advised because it is done.
        gone = [name for id_, name in at.drafted.items() if id_ not in advised and name not in placed]
        return {"orders": orders, "drafted": _told(drafted), "drafts_gone": gone}

    def note(self, opinion: Opinion | None, at: Answering) -> str:
        """Answers and advice as plain text, to be copied into a note."""
        lines = [self.vocabulary.in_words(item, answer) for item, answer in at.answers.items()]
        if opinion is None:
            return "\n".join(lines)
        if at.side:
            lines.insert(0, f"Side: {self.knowledge.wording.sides[at.side]}")
        for advised in opinion.answered.advised:
            lines += ["", advised.card.summary, as_text(advised.card.detail or "")]
        return "\n".join(lines).strip()

    # -- the patient and the chart ------------------------------------------------------------------------------------

    def _patient(self, chart: Opinion) -> dict[str, Any]:
        evaluation = chart.evaluation
        name, born = name_and_birth(chart_of(evaluation.request))
        age = evaluation.case.patient.age
        return {
            "name": name or "No name in the chart",
            "born": born,
            "age": f"{age.low:g}" if age is not None and age.low == age.high else "",
            "side": self.knowledge.wording.sides.get(evaluation.assessment.side, ""),
            "read": f"{evaluation.now:%H:%M}",
            "ehr": urlsplit(evaluation.request.fhir_server or "").hostname or "",
        }

    def _missing(self, chart: Opinion) -> list[str]:
        """The kinds of data that could not be read, or not all of them."""
        data = chart.evaluation.assessment.data
        kinds = dict.fromkeys(kind_of(key) for key, state in data.items() if state not in _CAME)
        return [self.knowledge.wording.data.get(kind, kind.capitalize()) for kind in kinds]

    def _chart(self, chart: Opinion, at: Answering) -> Iterator[dict[str, Any]]:
        """What the chart states of findings, the newest first, and how it can be answered otherwise."""
        now = chart.evaluation.now
        for one in stated(chart):
            item = Item(one.finding, one.side)
            yield {
                "title": self.knowledge.title_of(one.finding),
                "state": with_unit(self.knowledge.findings[one.finding], one.value),
                "side": self.knowledge.wording.sides.get(one.side, "") if one.side else "",
                "date": as_people_write(one.when.text, now) if one.when else "no date",
                "source": one.resource.partition("/")[0],
                "item": self._correction(item, at) if self.opinions.can_be_corrected(one.finding) else None,
            }

    def _correction(self, item: Item, at: Answering) -> dict[str, Any]:
        """As an item of a question; that it is unknown takes back nothing that is known."""
        made = self._item(item, at.answers.get(item, ""), both=True)
        return {**made, "id": f"chart-{made['id']}", "answers": tuple(a for a in made["answers"] if a != UNKNOWN)}

    # -- questions ----------------------------------------------------------------------------------------------------

    def _group(self, chart: Opinion, group: Group, at: Answering) -> dict[str, Any]:
        question, items = self.opinions.question(group), self.opinions.items(chart, group)
        terms = self.knowledge.question_terms
        return {
            "number": group.number,
            "ask": question.ask,
            "because": question.because,
            "changes": [terms[term].words for term in group.changes if term in terms],
            "items": [self._item(item, at.answers.get(item, ""), both=len(chart.sides) > 1) for item in items],
            # More than one can be absent together.
            "none_of": len(items) > 1 and all(self._is_boolean(item) for item in items),
            "done": all(item in at.answers for item in items),
        }

    def _is_boolean(self, item: Item) -> bool:
        return self.knowledge.findings[item.finding].value == "boolean"

    def _item(self, item: Item, answer: str, *, both: bool) -> dict[str, Any]:
        finding = self.knowledge.findings[item.finding]
        side = f" ({self.knowledge.wording.sides[item.side]})" if both and item.side else ""
        return {
            "key": item.key,
            "id": item.key.replace("/", "-"),
            "title": f"{finding.title}{side}",
            "value": finding.value,
            "unit": "" if finding.unit.startswith("{") else finding.unit,
            "answers": (YES, NO, UNKNOWN) if finding.value == "boolean" else (UNKNOWN,),
            "answer": answer,
        }

    def _sides(self, chart: Opinion, at: Answering) -> list[dict[str, Any]]:
        """The sides to choose from, where the chart names none."""
        if chart.sides != ("",) or chart.evaluation.assessment.complaint != "present":
            return []
        words = self.knowledge.wording.sides
        return [{"side": side, "words": words[side], "chosen": side == at.side} for side in SIDES]

    def _left(self, opinion: Opinion, at: Answering) -> dict[str, Any]:
        """What could still change, in words: of what decides, and of the rest."""
        asked = at.asked | {item.finding for item in at.answers}
        terms = self.opinions.can_change(opinion, asked)
        words = self.knowledge.question_terms
        return {
            "can_decide": [words[term].words for term in words if term in terms & DECIDING],
            "can_change": [words[term].words for term in words if term in terms - DECIDING],
            "enough": at.enough,
        }

    # -- why ----------------------------------------------------------------------------------------------------------

    def _why(self, chart: Opinion, opinion: Opinion) -> dict[str, Any]:
        """What the advice stands on, of what is said."""
        if opinion.is_suspended:
            return {"rankings": [], "fired": [], "single": [], "timeline": None}
        said = opinion.spoken.fired
        # Where all that could be said is muted, the causes would stand beside no advice.
        ranked = bool(said) or not opinion.evaluation.muted.ids
        return {
            "rankings": list(self._rankings(opinion)) if ranked else [],
            "fired": [{"title": each.recommendation.title, "indicator": each.indicator} for each in said],
            "single": list(self._single(opinion)),
            "timeline": self._timeline(chart, opinion),
        }

    def _rankings(self, opinion: Opinion) -> Iterator[dict[str, Any]]:
        assessment, knowledge = opinion.evaluation.assessment, self.knowledge
        points: dict[tuple[str, str], list[int]] = defaultdict(list)
        for side, each in self.opinions.evaluator.assessor.weights(assessment):
            points[side, each.cause].append(each.points)
        for number, ranking in enumerate(assessment.rankings):
            rows: list[dict[str, Any]] = [
                {
                    "title": knowledge.causes[cause.id].title,
                    "band": cause.band,
                    "for": [knowledge.title_of(name) for name in cause.speaks_for],
                    "against": [knowledge.title_of(name) for name in cause.speaks_against],
                    "points_for": sum(p for p in points[ranking.side, cause.id] if p > 0),
                    "points_against": -sum(p for p in points[ranking.side, cause.id] if p < 0),
                }
                for cause in ranking.causes
                if cause.band != "not-assessed"
            ]
            side = f", {knowledge.wording.sides[ranking.side]}" if len(assessment.rankings) > 1 else ""
            drawn = [
                Balance(row["title"], row["points_for"], row["points_against"]) for row in rows if row["band"] in _DRAWN
            ]
            title = f"For and against each cause{side}"
            plot = balance(f"causes-{number}", title, drawn, "points") if drawn else None
            yield {"title": title, "plot": plot, "rows": rows}

    def _single(self, opinion: Opinion) -> Iterator[str]:
        """What one answer would do to each card."""
        for change in opinion.evaluation.card_changes():
            topic = self.knowledge.wording.topics[change.topic].display
            for answers, does in ((change.raised_by, "more urgent"), (change.removed_by, "not needed")):
                if answers:
                    yield f"{topic} would become {does} with any of: {', '.join(self._named(answers))}."

    def _named(self, answers: SingleAnswers) -> Iterator[str]:
        for finding, value in answers:
            known = self.knowledge.findings.get(finding)
            ago = " days ago" if known is not None and known.value == "date" else ""
            yield f"{self.knowledge.short_of(finding)}{_as_answered(value)}{ago}"

    def _timeline(self, chart: Opinion, opinion: Opinion) -> dict[str, Any] | None:
        """Findings, imaging and deadlines by the days since the onset; nothing where no onset is documented."""
        assessment, now = opinion.evaluation.assessment, opinion.evaluation.now
        onset = assessment.onset()
        if onset is None:
            return None
        began = onset.low

        def day(when: datetime) -> int:
            return (when.date() - began.date()).days

        by_day: dict[int, list[str]] = defaultdict(list)
        for found in _by_side(chart.evaluation.case):
            for one in found:
                if one.when and one.value is True and day(one.when.low) >= 0:
                    by_day[day(one.when.low)].append(self.knowledge.short_of(one.finding))
        marks = [Mark(number, _few(dict.fromkeys(names)), _FOUND) for number, names in sorted(by_day.items())]
        orders = self.knowledge.orders
        marks += [
            Mark(day(order.when.low), orders[order.key].short, _IMAGED)
            for order in opinion.evaluation.on_chart.done
            if order.when and order.key in orders and day(order.when.low) >= 0
        ]
        marks.append(Mark(day(now), "today", 2))
        if limit := limit_of(self.knowledge, opinion.spoken):
            marks.append(Mark(day(now + timedelta(days=limit.days)), "to be seen by", _DUE))
        marks = sorted(marks, key=lambda mark: mark.day)[-_MARKS:]
        plot = time_line("injury-days", "Days since the onset", _DAYS, marks, "days")
        rows = [
            {"day": f"{mark.day:g}", "date": f"{began + timedelta(days=mark.day):%b %d}", "what": mark.label}
            for mark in marks
        ]
        return {"plot": plot, "rows": rows}


def stated(chart: Opinion) -> list[Assertion]:
    """What the chart states of each finding and side, the newest of each and by their time."""

    def time(one: Assertion) -> float:
        return one.when.high.timestamp() if one.when else 0.0

    return sorted((max(found, key=time) for found in _by_side(chart.evaluation.case)), key=time, reverse=True)


def _by_side(case: Any) -> Iterator[tuple[Assertion, ...]]:
    """What is stated with a value, by finding and side."""
    for stated in case.assertions.values():
        sides: dict[str, list[Assertion]] = defaultdict(list)
        for one in stated:
            if one.value is not None:
                sides[one.side].append(one)
        yield from map(tuple, sides.values())


def _as_answered(value: Value) -> str:
    if isinstance(value, Interval):
        return f" {value.low:g}"
    return "" if value is True else " absent"


def _few(names: Iterable[str]) -> str:
    named = list(names)
    rest = len(named) - _NAMED
    return ", ".join(named[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _told(saved: Saved | None) -> dict[str, Any] | None:
    """What came of writing to the chart, as the template says it."""
    if saved is None:
        return None
    return {
        "references": saved.references,
        "open": saved.open_,
        "why": _REFUSALS.get(saved.status, f"the EHR answered {saved.status}") if saved.status else "",
        "unknown": saved.unknown,
    }


def _changes(opinion: Opinion, before: Opinion | None) -> tuple[list[ShownCard], list[str]]:
    """The cards with what they said before, and what the cards said that are gone."""
    old = {} if before is None else {_topic(each.card): each.card for each in before.answered.advised}
    shown = []
    for advised in opinion.answered.advised:
        card, was = advised.card, old.pop(_topic(advised.card), None)
        shown.append(
            ShownCard(
                str(card.indicator),
                card.summary,
                as_html(card.detail or ""),
                was.summary if was is not None and was.summary != card.summary else "",
                before is not None and was is None,
            )
        )
    return shown, [card.summary for card in old.values()]


def _topic(card: Card) -> str:
    return card.source.topic.code if card.source.topic else card.summary
