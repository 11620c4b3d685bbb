"""What to ask or examine next: what each answer would change, read from the charts in which it is given. Pure.

The value of a finding is what its answer can change at most: the urgency, the imaging, the referrals, the leading
cause, the treatment, each with the points that questions.toml gives it (section 5.5 of the evidence). Every answer to
every question is a variant of the patient in the one decision, so that nothing is estimated.

What some recommendations would say, `unsaid`, can be left out of what an answer changes. The decision is still that of
all: what they hold is held, and what waits for them waits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import chain, compress
from math import floor, inf, nextafter
from operator import itemgetter, or_
from typing import NamedTuple

import msgspec

from service.chart.side_chart import Chart
from service.knowledge_model.conditions import Interval, Value
from service.knowledge_model.model import Knowledge
from service.knowledge_model.vocabulary import COSTS, INDICATORS
from service.reasoning.decision import Charts, Decision, Layout, charts_of, layout, ones
from service.reasoning.kernel import Kernel, OnCard

ASKED_AT_MOST = 3
# What a decision is about: while an answer may change one of these, there is something to ask.
DECIDING = frozenset({"severity", "imaging", "referrals"})


class Asked(NamedTuple):
    """A question to ask, and what its answer can change: terms of questions.toml, the weightiest first.

    short: the question in a few words where nothing of it is known; empty where the finding says it.
    """

    finding: str
    ask: str
    because: str
    changes: tuple[str, ...] = ()
    short: str = ""


class Answer(NamedTuple):
    """One way to answer a question: the question by its number, and the findings with what they are then."""

    question: int
    values: Mapping[str, Value]


class Change(msgspec.Struct, frozen=True, gc=False):
    """The variants in which the same changes: the points of each term, and of all."""

    points: int
    gains: tuple[tuple[int, str], ...]
    variants: int

    def terms(self) -> tuple[str, ...]:
        """What changes, the weightiest first."""
        return tuple(term for _points, term in sorted(self.gains, key=lambda gain: -gain[0]))


# Findings, each with an answer to it, of which each is given alone.
SingleAnswers = tuple[tuple[str, Value], ...]


class WouldChange(NamedTuple):
    """The single answers that alone remove the card of a topic, and those that raise it; there may be none.

    It is raised where something on it becomes critical, or something more urgent comes in its place.
    """

    topic: str
    removed_by: SingleAnswers
    raised_by: SingleAnswers
    # What of the hook context the card is about; empty where it is about the chart.
    about: str = ""


class Questions:
    """The questions of one knowledge, and the charts in which they are answered; made once."""

    def __init__(self, knowledge: Knowledge, kernel: Kernel, informative: frozenset[str]) -> None:
        self.knowledge, self.kernel = knowledge, kernel
        # A date is answered by the days since then.
        self.read_date_as = {date: days for days, date in knowledge.engine.derived.days_since.items()}
        self.read_as = {f: self.read_date_as.get(f, f) for q in knowledge.questions for f in q.findings}
        self.tries = {f: _values(knowledge, f, name) for f, name in self.read_as.items()}
        self.answers = tuple(self._answers())
        read = [{self.read_as[f]: value for f, value in answer.values.items()} for answer in self.answers]
        informing = informative | {self.read_date_as[f] for f in informative & self.read_date_as.keys()}
        self.layouts: Mapping[int, Layout] = {charts: layout(kernel, charts, read, informing) for charts in (1, 4)}
        # Of each question the variants in which one finding is answered, and with those in which several are together.
        self.variants = {charts: [(0, 0) for _question in knowledge.questions] for charts in self.layouts}
        # What a finding is read as -> the variants in which it is answered alone.
        self.alone: dict[int, dict[str, int]] = {charts: {} for charts in self.layouts}
        for number, answer in enumerate(self.answers, start=1):
            name, *more = (self.read_as[f] for f in answer.values)
            for charts in self.layouts:
                variant, (alone, every) = 1 << number * charts, self.variants[charts][answer.question]
                self.variants[charts][answer.question] = (alone if more else alone | variant, every | variant)
                if not more:
                    self.alone[charts][name] = self.alone[charts].get(name, 0) | variant
        self.given = [tuple(answer.values.items()) for answer in self.answers]
        self.outcome = _by_term(kernel.outcome.items())
        self.findings = [tuple(self.read_as[f] for f in q.findings) for q in knowledge.questions]
        self.asked_first = frozenset(f for q in knowledge.questions if q.first for f in q.findings)
        self.points = {term: of.points for term, of in knowledge.question_terms.items()}
        self.first = [n for n, q in enumerate(knowledge.questions) if q.first]
        # The cheapest first, then in the order of the file.
        self.order = sorted(
            (n for n, q in enumerate(knowledge.questions) if not q.first),
            key=lambda n: COSTS.index(knowledge.questions[n].cost),
        )

    def _answers(self) -> Iterator[Answer]:
        """Of each question all its findings at once where they go together, then one after the other; yes first."""
        for number, question in enumerate(self.knowledge.questions):
            if question.first:
                continue
            tries = {f: self.tries[f] for f in question.findings}
            if question.together:
                yield Answer(number, {f: values[-1] for f, values in tries.items()})
                yield Answer(number, {f: values[0] for f, values in tries.items()})
            for finding, values in tries.items():
                for value in reversed(values):
                    yield Answer(number, {finding: value})

    def charts(self, charts: Sequence[Chart], *, informed: bool) -> Charts:
        """The charts of a case, and the same with each answer to each question."""
        of_patient, layout = charts[:2] if len(charts) == 4 else charts, self.layouts[len(charts)]
        closed: set[str] = set()
        for chart in of_patient:
            closed.update(chart.known, (self.read_date_as.get(date, date) for date in chart.dated))
            # What is recorded in two ways is asked for first, and not tried.
            closed |= chart.contradictory & self.asked_first
        closed &= layout.answered.keys()
        laid_out = charts_of(
            self.kernel, layout, charts, informed=informed, open_=frozenset(layout.answered.keys() - closed)
        )
        return msgspec.structs.replace(laid_out, closed=self._alone_of(layout.charts, closed))

    def _alone_of(self, charts: int, names: Iterable[str]) -> int:
        """The variants in which one of these is answered alone."""
        variants, alone = 0, self.alone[charts]
        for name in names:
            variants |= alone.get(name, 0)
        return variants

    def ask(self, decision: Decision, but: Collection[str] = (), unsaid: Collection[str] = ()) -> tuple[Asked, ...]:
        """The questions whose answers can change most and are plausible, best first; at most three. None about the
        findings of `but`, which were asked about already.
        """
        charts, questions = decision.charts, self.knowledge.questions
        due = self._due(decision)
        asked = self._due_first(charts, due, but)
        besides = {self.read_as.get(f, f) for f in (*(item.finding for item in asked), *but)}
        changes = self.changes(decision, self._left(charts, due, besides), unsaid)
        by_points: dict[int, int] = {}
        for change in changes:
            by_points[change.points] = by_points.get(change.points, 0) | change.variants
        # What changes nothing is not asked.
        by_points.pop(0, None)
        ranked, changing = sorted(by_points.items(), reverse=True), reduce(or_, by_points.values(), 0)
        worth: list[tuple[int, int, int]] = []
        for number in self.order:
            if of_question := changing & self.variants[charts.layout.charts][number][1]:
                # The answer that changes most; of those that change as much, the first that is tried.
                for points, variants in ranked:
                    if most := variants & of_question:
                        worth.append((points * self._plausible(decision, number), number, most & -most))
                        break
        # Value times plausibility; of equal ones the cheaper, as they stand.
        worth.sort(key=itemgetter(0), reverse=True)
        for _worth, number, variant in worth[: max(ASKED_AT_MOST - len(asked), 0)]:
            question, answer = questions[number], self.answers[(variant.bit_length() - 1) // charts.layout.charts - 1]
            change = next(change for change in changes if change.variants & variant)
            left = [f for f in question.findings if (of := self.read_as[f]) in charts.open and of not in besides]
            finding = next(f for f in left if f in answer.values)
            short = question.short if len(left) == len(question.findings) else ""
            asked.append(Asked(finding, question.ask, question.because, change.terms(), short))
        return tuple(asked[:ASKED_AT_MOST])

    def number_of(self, asked: Asked) -> int:
        """The number of the question that is asked."""
        questions = enumerate(self.knowledge.questions)
        return next(number for number, each in questions if each.ask == asked.ask and asked.finding in each.findings)

    def can_change(self, decision: Decision, but: Collection[str] = (), unsaid: Collection[str] = ()) -> frozenset[str]:
        """The terms that an answer left to give can change: to any question, however implausible, except about the
        findings of `but`. With none of DECIDING among them, enough is known.
        """
        charts, due = decision.charts, self._due(decision)
        if self._due_first(charts, due, but):
            return frozenset(self.points)
        left = self._left(charts, due, {self.read_as.get(f, f) for f in but})
        return frozenset(term for change in self.changes(decision, left, unsaid) for term in change.terms())

    def _due_first(self, charts: Charts, due: Sequence[bool], but: Collection[str]) -> list[Asked]:
        """The questions about what is recorded in two ways; none where all of that is among the findings of `but`."""
        asked = []
        for question in (self.knowledge.questions[number] for number in self.first if due[number]):
            found = [f for f in question.findings if f in charts.contradictory] or question.findings
            if finding := next((f for f in found if f not in but), None):
                asked.append(Asked(finding, question.ask, question.because))
        return asked

    def _left(self, charts: Charts, due: Sequence[bool], besides: Collection[str]) -> int:
        """The variants that answer a question that is due, of what is still open and none of `besides`."""
        left, open_ = 0, charts.open
        for findings, (alone, every), is_due in zip(
            self.findings, self.variants[charts.layout.charts], due, strict=True
        ):
            if is_due:
                # All of it at once only where more than one is unknown.
                several = every != alone and len([f for f in findings if f in open_ and f not in besides]) > 1
                left |= every if several else alone
        return left & ~(charts.closed | self._alone_of(charts.layout.charts, besides))

    def _answered_alone(self, decision: Decision) -> int:
        """The variants in which one finding is answered that is unknown and asked of this patient."""
        of_due = compress(self.variants[decision.charts.layout.charts], self._due(decision))
        return reduce(or_, (alone for alone, _every in of_due), 0) & ~decision.charts.closed

    def _due(self, decision: Decision) -> list[bool]:
        """Of each question whether it is asked of this patient at all."""
        values, of_patient = decision.values, decision.charts.patient
        return [values[place] & of_patient != 0 for place in self.kernel.questions]

    def _plausible(self, decision: Decision, number: int) -> int:
        """How plausible an answer to this question is that changes something, in percent."""
        values, of_patient = decision.values, decision.charts.patient
        for percent, place in self.kernel.priors[number]:
            if values[place] & of_patient:
                return percent
        return 100

    def changes(self, decision: Decision, variants: int, unsaid: Collection[str] = ()) -> list[Change]:
        """These variants, by what of the outcome differs from that of the patient as documented."""
        charts, values, first = decision.charts, decision.values, decision.charts.layout.first
        places = self._outcome_without(unsaid) if unsaid else self.outcome

        def outcome(term: str, places: Mapping[str, Sequence[tuple[str, int]]] = places) -> dict[str, int]:
            found: dict[str, int] = {}
            for name, place in places.get(term, ()):
                if values[place]:
                    bits = charts.anywhere(values[place])
                    found[name] = found[name] | bits if name in found else bits
            return found

        def differs(found: Iterable[int]) -> int:
            differing = 0
            for bits in found:
                differing |= bits ^ first if bits & 1 else bits
            return differing

        tiers, holds = outcome("tier"), outcome("hold")
        held, of_all = (outcome("hold", self.outcome), outcome("tier", self.outcome)) if unsaid else (holds, tiers)
        critical, still_critical = tiers.get("critical", 0), of_all.get("critical", 0)
        offered = [bits & ~held.get(name, 0) for name, bits in outcome("offer").items()]
        leads = (charts.anywhere(bits ^ charts.as_documented(bits)) for bits in decision.leads.values() if bits)
        terms = {
            "imaging": differs(outcome("imaging").values()),
            "referrals": differs(outcome("referrals").values()),
            "leader": differs((decision.waits, *leads)),
            # What a critical flag does to the treatment is in its urgency.
            "treatment": differs((*holds.values(), *offered)) & ~(first if still_critical & 1 else still_critical),
        }
        # Another emergency is a step as well where there is one already.
        again = critical & differs(outcome("critical-flag").values()) if critical & 1 else 0
        severity = self.points["severity"]
        parts: list[tuple[int, tuple[tuple[int, str], ...], int]] = [
            (severity * steps, ((severity * steps, "severity"),) if steps else (), of & variants)
            for steps, of in self._steps(first, tiers, again)
            if of & variants
        ]
        for term, of_term in terms.items():
            if not of_term & variants:
                continue
            gained, whole, parts = self.points[term], parts, []
            for points, gains, of in whole:
                if with_term := of & of_term:
                    parts.append((points + gained, (*gains, (gained, term)), with_term))
                if of != with_term:
                    parts.append((points, gains, of ^ with_term))
        return [Change(*part) for part in parts]

    def _outcome_without(self, unsaid: Collection[str]) -> dict[str, list[tuple[str, int]]]:
        """The places of what an answer can change, of what the other recommendations make."""
        others = (of for id_, of in self.kernel.outcome_of.items() if id_ not in unsaid)
        return _by_term(chain.from_iterable(others))

    def would_change(
        self, decision: Decision, cards: Mapping[str, Iterable[str]], unsaid: Collection[str] = ()
    ) -> Iterator[WouldChange]:
        """What a single answer would do to each of these cards: the topic of each, and the recommendations on it; of no
        card on which anything is unsaid.
        """
        charts, first, topics = decision.charts, decision.charts.layout.first, self.knowledge.engine.topics
        answered = self._answered_alone(decision)
        shown = self._shown(decision, self.kernel.cards)
        said = self._shown(decision, self._cards_without(unsaid)) if unsaid else shown
        tiers = [topics[tier] for tier in INDICATORS[:-1]]
        for topic, recommendations in cards.items():
            if not shown[topic] & 1 or not {*recommendations}.isdisjoint(unsaid):
                continue
            critical = (
                charts.anywhere(decision.values[self.kernel.recommendations[id_].critical]) for id_ in recommendations
            )
            graver = [bits for bits in critical if not bits & 1]
            gone = first & ~shown[topic]
            above = tiers[: tiers.index(topic)] if topic in tiers else tiers
            instead, said_instead = (reduce(or_, (of.get(tier, 0) for tier in above), 0) for of in (shown, said))
            raised = reduce(or_, graver, gone & said_instead)
            # What comes in its place unsaid does not make it needless.
            removed = gone & ~(raised | instead)
            yield WouldChange(
                topic, self._answers_in(charts, removed & answered), self._answers_in(charts, raised & answered)
            )

    def would_change_beside(
        self, decision: Decision, topic: str, cards: Sequence[tuple[str, Sequence[int]]]
    ) -> Iterator[WouldChange]:
        """The same of the cards about the hook context: of each what it is about, and the variants in which there is
        one of each indicator, the most urgent first.
        """
        charts, first = decision.charts, decision.charts.layout.first
        answered = self._answered_alone(decision)
        located = charts.anywhere(decision.values[self.kernel.located])
        with_complaint = [(about, [variants & located for variants in tiers]) for about, tiers in cards]
        new = [tiers for _about, tiers in with_complaint if not any(variants & 1 for variants in tiers)]
        for about, tiers in with_complaint:
            before = next((tier for tier, variants in enumerate(tiers) if variants & 1), None)
            if before is None:
                continue
            gone = first & ~reduce(or_, tiers)
            instead = reduce(or_, (variants for other in new for variants in other[:before]), 0)
            raised = reduce(or_, tiers[:before], gone & instead)
            yield WouldChange(
                topic,
                self._answers_in(charts, gone & ~raised & answered),
                self._answers_in(charts, raised & answered),
                about,
            )

    def alike(self, decision: Decision, read: Iterable[int], apart: Collection[str]) -> list[int]:
        """The variants with a single answer by which something that is read differs from the patient as documented,
        those together that are alike in all of it; see Assessor.alike. The answers about what is `apart` each by
        itself.
        """
        charts, first = decision.charts, decision.charts.layout.first
        every = self._answered_alone(decision)
        by_itself = self._alone_of(charts.layout.charts, apart) & every
        classes, same = [every & ~by_itself], every & ~by_itself
        differing = [bits ^ charts.as_documented(bits) for bits in {*read}]
        # Much of what is read differs in the same variants.
        for of_chart in {bits >> chart & first & same for bits in differing for chart in range(charts.layout.charts)}:
            same &= ~of_chart
            classes = [part for of in classes for part in (of & of_chart, of & ~of_chart) if part]
        return [*(of for of in classes if of and not of & same), *(1 << number for number in ones(by_itself))]

    def _cards_without(self, unsaid: Collection[str]) -> Iterator[OnCard]:
        return (card for id_, cards in self.kernel.cards_of.items() if id_ not in unsaid for card in cards)

    def _shown(self, decision: Decision, cards: Iterable[OnCard]) -> dict[str, int]:
        """Topic -> the variants in which there is one of these cards of it."""
        topics = self.knowledge.engine.topics
        shown: dict[str, int] = {}
        for card in cards:
            said = decision.said(card.place, card.adds, card.cautions)
            shown[card.topic] = shown.get(card.topic, 0) | said
        # Self-care and treatment wait for the evaluation.
        critical = shown.get(topics["critical"], 0)
        return {topic: of & ~critical if topic == topics["treatment"] else of for topic, of in shown.items()}

    def _answers_in(self, charts: Charts, variants: int) -> SingleAnswers:
        given, size = self.given, charts.layout.charts
        return tuple([item for number in ones(variants) for item in given[number // size - 1]])

    def _steps(self, rest: int, tiers: Mapping[str, int], again: int) -> Iterator[tuple[int, int]]:
        """Steps of urgency, and the variants that are so many steps away; `again`: those with another emergency."""
        levels = []
        for indicator in INDICATORS:
            levels.append(tiers.get(indicator, 0) & rest)
            rest &= ~levels[-1]
        levels.append(rest)
        before = next(level for level, variants in enumerate(levels) if variants & 1)
        for level, variants in enumerate(levels):
            yield abs(level - before), variants & ~again
        yield 1, again


def _by_term(outcome: Iterable[tuple[tuple[str, str], int]]) -> dict[str, list[tuple[str, int]]]:
    """Term -> the places of what an answer can change of it, each by its name."""
    found: dict[str, list[tuple[str, int]]] = {}
    for (term, name), place in outcome:
        found.setdefault(term, []).append((name, place))
    return found


def _values(knowledge: Knowledge, finding: str, read_as: str) -> tuple[Value, ...]:
    """What an answer may be: absent or present; of a quantity, or what a date is read as, one value in each stretch
    between its thresholds.
    """
    known = knowledge.findings.get(finding)
    if known and known.value == "boolean":
        return (False, True)
    leaves = [
        leaf
        for condition in knowledge.recommendation_conditions()
        for leaf in condition.leaves()
        if leaf.finding == read_as and leaf.word in ("at_least", "at_most")
    ]
    days = read_as in knowledge.engine.derived.days_since
    stretches: dict[tuple[bool, ...], Value] = {}
    bounds = {
        value
        for leaf in leaves
        for value in (
            leaf.operand,
            (leaf.operand - 1 if leaf.word == "at_least" else leaf.operand + 1)
            if days
            else nextafter(leaf.operand, -inf if leaf.word == "at_least" else inf),
        )
    }

    def stretch(value: float) -> tuple[bool, ...]:
        return tuple(leaf.operand <= value if leaf.word == "at_least" else value <= leaf.operand for leaf in leaves)

    for value in sorted(bounds):
        # A plain number where the stretch has one.
        plain = float(floor(value)) if stretch(floor(value)) == stretch(value) else value
        stretches.setdefault(stretch(value), Interval(plain, plain))
    return tuple(stretches.values())
