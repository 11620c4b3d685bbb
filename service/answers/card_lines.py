"""The lines of cards: knowledge writes them, and leaves places that are filled in by what the chart says.

A line may have `{findings}` (what made the recommendation hold, in short words), `{day}` (days since the onset or
injury, where they are known), `{by}` (when it is due: "today", "by Dec 3"), `{orders}` (what is left to be ordered),
`{window}` (until when these orders can wait beside an examination today, by the window since the injury),
`{cause}` (the leading causes), `{where}` (where the pain is), `{order}` (the draft that the card is about), `{side}`
and the name of a fact of the hook context, which stands for its value. What stands in [brackets] is left out where
a place within says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache, partial
from itertools import chain, islice

import msgspec

from service.answers.content import Content
from service.chart.assertions import SIDE_UNREADABLE
from service.chart.elements import BILATERAL
from service.chart.fhir_time import read_when
from service.knowledge_model.conditions import CONTRADICTORY
from service.knowledge_model.model import OF_THE_PATIENT, Knowledge, Recommendation, capital, in_a_sentence
from service.knowledge_model.quantity import unit_in_words
from service.knowledge_model.vocabulary import CHART_KINDS, CLINICAL_KINDS, PLACE, PRIORITIES
from service.reasoning.assessment import Assessment
from service.reasoning.differential import NO_SIDE_NAMED, Ranking
from service.reasoning.evidence import Evidence, Fired
from service.reasoning.visit_limits import URGENT, days_allowed, window_left

_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_DATE = re.compile(r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# The year is named of what is older than this, in days.
_THIS_YEAR = 300
# So many findings a summary names at most.
_NAMED = 3
# And where all orders are too long, so many of them.
_ORDERS = 2
# What is no number and no date.
_STATES = frozenset({"present", "absent", "unknown", CONTRADICTORY})
# What stands around a name in a list.
_BEFORE, _AFTER = ("", ": ", ", ", ". ", "; "), (",", ".", ":", ";", "?", " (", " and ")


class Line(msgspec.Struct, frozen=True):
    """A line of a card: as it is written in the knowledge, as a sentence, and how many words it has."""

    text: str
    sentence: str
    words: int

    @classmethod
    def of(cls, text: str) -> Line:
        return cls(text, capital(text) if text.endswith((".", "?")) else f"{capital(text)}.", len(text.split()))


class Saying(msgspec.Struct, frozen=True):
    """What is the same of a recommendation on every card; made when the service starts.

    do: what to do, in short, with its places not filled in; holds: whether it says nothing but that a treatment has to
    wait; cares: whether it says with what care something is offered; warns: whether it does, or says what of that is
    left out, or beside a plan what must not be given; medicines: those that it offers; leads_to: those of which it says
    with what care they are given, or that are given in place of one that it holds; begins: whether its first line is
    never left out; comes_first: what goes before others of its card has the smaller one.
    """

    do: tuple[Line, ...]
    holds: bool
    cares: bool
    warns: bool
    medicines: frozenset[str]
    leads_to: frozenset[str]
    begins: bool
    comes_first: tuple[bool, bool]

    @classmethod
    def of(cls, recommendation: Recommendation, knowledge: Knowledge) -> Saying:
        judged = knowledge.engine.medicines.values()
        medicines = {medicine.treatment for medicine in judged}
        in_place = {medicine.treatment for medicine in judged if medicine.order}
        treatment, kind = recommendation.treatment, recommendation.kind
        offered, cared_for, held = (
            frozenset(call.id for call in treatment if call.state == state) for state in ("offer", "caution", "hold")
        )
        leaves_out = any(call.without for call in treatment)
        at_once = {(to.to, to.priority) for to in recommendation.referrals}
        return cls(
            do=tuple(map(Line.of, recommendation.do)),
            holds=holds(recommendation),
            cares=bool(cared_for),
            warns=bool(cared_for) or leaves_out or (kind == "plan" and bool(held)),
            medicines=offered & medicines,
            leads_to=cared_for & medicines | (in_place - held if held & medicines else frozenset()),
            begins=recommendation.red_flag is not None or kind == "closing",
            # An emergency leads its card, then what has been answered.
            comes_first=((knowledge.engine.emergency, PRIORITIES[0]) not in at_once, not recommendation.leads),
        )


def fill(line: str, value_of: Callable[[str], str]) -> str:
    """The line with its places filled in."""
    # Most lines have no place in them.
    if "{" not in line and "[" not in line:
        return line.strip()
    written: list[str] = []
    for form, places, optional in _parts_of(line):
        values = tuple(map(value_of, places))
        if not optional or all(values):
            written.append(form % values)
    return "".join(written).strip()


@cache
def _parts_of(line: str) -> tuple[tuple[str, list[str], bool], ...]:
    """A line of the knowledge, taken apart once: each part as a form, with the names of its places, and whether it is
    optional."""
    parts = (PLACE.split(part.replace("%", "%%")) for part in _OPTIONAL.split(line))
    return tuple(("%s".join(part[::2]), part[1::2], number % 2 == 1) for number, part in enumerate(parts))


def as_people_write(date: str, now: datetime) -> str:
    """A FHIR date as people write it, as precise as it is; without its year where that is clear. Empty for none."""
    if not date:
        return ""
    found = _DATE.match(date)
    when = read_when(found[0]) if found else None
    if found is None or when is None:
        return ""
    day = when.low
    if not found[3]:
        return f"{MONTHS[day.month - 1]} {day.year}" if found[2] else found[1]
    clear = abs((now - day).days) < _THIS_YEAR
    written = f"{MONTHS[day.month - 1]} {day.day}"
    return written if clear else f"{written}, {day.year}"


def _in_turn(lists: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first of each, then the second of each and so on, each once."""
    longest = max(map(len, lists), default=0)
    yield from dict.fromkeys(items[place] for place in range(longest) for items in lists if place < len(items))


def _each_once(items: Iterable[str]) -> Iterator[str]:
    """Each when it first comes, so that whoever wants a few looks for no more."""
    seen: set[str] = set()
    for item in items:
        if item not in seen:
            seen.add(item)
            yield item


def with_unit(state: str, *, in_full: bool = True) -> str:
    """A number with its unit, left out in a summary where the finding is known by its number: eGFR 28."""
    number, space, unit = state.rpartition(" ")
    if not space or (not in_full and "{" in unit):
        return number or unit
    return f"{number} {unit_in_words(unit)}"


def is_named(item: str, text: str) -> bool:
    """Whether a text names this by itself: hip pain, but not within lateral hip pain."""
    item, text = item.lower(), text.lower()
    at = text.find(item)
    while at >= 0:
        after = text[at + len(item) :]
        if text[max(at - 2, 0) : at] in _BEFORE and (not after or after.startswith(_AFTER)):
            return True
        at = text.find(item, at + 1)
    return False


def holds(recommendation: Recommendation) -> bool:
    """Whether it says nothing but that a treatment has to wait."""
    treatment = recommendation.treatment
    return recommendation.kind == "treatment" and bool(treatment) and all(call.state == "hold" for call in treatment)


class CardLines:
    """Fills in the lines of the cards of one answer."""

    def __init__(self, knowledge: Knowledge, assessment: Assessment, now: datetime) -> None:
        self.knowledge, self.assessment, self.now = knowledge, assessment, now
        self.words = knowledge.wording

    def summaries(self, content: Content) -> Iterator[str]:
        """The summary of a card, with less and less: whoever asks takes the first that fits.

        What made the first recommendation fire is named before its orders are, and so is another red flag that is as
        urgent: apart, for it is no reason for what the first one says.
        """
        lead, prefix = content.fired[0], self._prefix(content)
        places: dict[str, str] = {}

        def of_card(name: str) -> str:
            if name not in places:
                places[name] = self._of_card(content, name)
            return places[name]

        orders, few = content.orders, content.orders[:_ORDERS]
        fewer = ((orders, True), (few, True), ((), True), (few, False), ((), False))
        of_lead, others = self._deciding(content.fired, self._side_decided(content.fired))
        if not of_lead or lead.recommendation.kind == "closing":
            # Nothing made it fire: then what counts for a cause, and where the pain is.
            of_lead = list(islice(_each_once(chain(of_lead, self._counting(), self._located())), _NAMED))
        least = [(1, 1)] if others else [(1, 0), (0, 0)]
        for at_least, other in [*least, *([(1, 0), (0, 0)] if others else [])]:
            for told, causes in fewer:
                of_it = msgspec.structs.replace(content, orders=told, causes=causes)
                for count in range(min(_NAMED, len(of_lead)), min(at_least, len(of_lead)) - 1, -1):
                    text = fill(lead.recommendation.summary, partial(self._place, of_it, of_card, of_lead[:count]))
                    text = prefix + in_a_sentence(text) if prefix else capital(text)
                    for named in range(_NAMED if other else 0, other - 1, -1):
                        yield (
                            self.words.say("also_found", summary=text, findings=", ".join(others[:named]))
                            if named
                            else text
                        )
        yield prefix + in_a_sentence(lead.recommendation.title) if prefix else lead.recommendation.title

    def do(self, content: Content, fired: Fired, do: Iterable[Line], summary: str) -> Iterator[Line]:
        """What a recommendation says to do, in short, of these lines; the orders that the summary names, and in
        [brackets] the findings that it names, are not said again.
        """
        of_card = partial(self._of_card, content)
        for written in do:
            line = written.text
            if "{" not in line:
                yield written
                continue
            left, named = content, list[str]()
            if "{findings}" in line:
                worrying = self._worrying(fired.evidence, self._side_of(fired))
                named = list(dict.fromkeys(worrying)) or list(filter(None, map(self.item, fired.evidence)))
                named = named[:_NAMED]
                if any("{findings}" in optional for optional in _OPTIONAL.findall(line)):
                    named = self._besides(named, summary, fired)
            if "{orders}" in line:
                left = msgspec.structs.replace(
                    content, orders=[order for order in content.orders if order not in summary]
                )
            if text := fill(line, partial(self._place, left, of_card, named)):
                yield Line.of(text)

    def _besides(self, named: list[str], summary: str, fired: Fired) -> list[str]:
        """What the summary does not name of these; where it names one, only what else speaks for a danger."""
        left = [item for item in named if not is_named(item, summary)]
        if len(left) == len(named):
            return named
        findings, side = self.knowledge.findings, self._side_of(fired)
        known = [item for item in fired.evidence if item.finding in findings]
        dangers = {self.item(item, side=side) for item in known if findings[item.finding].direction == "worrying"}
        return [item for item in left if item in dangers]

    def reasons(self, content: Content, said: str) -> list[tuple[str, str]]:
        """What a card stands on, each finding with its date; what is present comes first.

        Of the findings that are `said` on the card already only the date is told, if they have one and the same; of a
        number that is said with its date nothing.
        """
        evidence = content.evidence
        if not (content.about or any(item.finding in self.knowledge.findings for item in evidence)):
            # An age alone is no reason for what is advised for this pain.
            evidence = [*self.assessment.located_by, *evidence]
        # What is present says most, the age the least.
        found = sorted(evidence, key=lambda item: (item.finding in OF_THE_PATIENT, item.state == "absent"))
        # Much of a chart is of one day.
        in_words = {date: as_people_write(date, self.now) for date in {item.date for item in found}}
        side = self._side(content)
        # With each whether it is an age or a date, which alone is no reason.
        reasons: dict[tuple[str, str], bool] = {}
        told = False
        for item in found:
            if not (text := self.item(item, dated=False, side=side)):
                continue
            if item.state not in _STATES and is_named(self.item(item, side=side), said):
                told = True
                continue
            finding = self.knowledge.findings.get(item.finding)
            # It says when it was by itself.
            is_a_date = finding is not None and finding.value == "date"
            # Two findings may be called alike in short: a cancer, and that it is past.
            reasons[text, "" if is_a_date else in_words[item.date]] = is_a_date or item.finding in OF_THE_PATIENT
        named = [reason for reason in reasons if is_named(reason[0], said)]
        dates = {date for _text, date in named if date}
        if not (named or told) or len(dates) > 1:
            return list(reasons)
        left = [reason for reason in reasons if reason not in named]
        if dates:
            return [(self.words.say("documented", date=dates.pop()), ""), *left]
        return [] if all(reasons[reason] for reason in left) else left

    def because(self, reasons: Sequence[tuple[str, str]], at_most: int) -> str:
        """So many of these reasons, those of a day together, and how many more there are."""
        by_date: dict[str, list[str]] = {}
        for text, date in reasons[:at_most]:
            by_date.setdefault(date, []).append(text)
        groups = (
            self.words.say("on_day", findings=", ".join(texts), date=date) if date else ", ".join(texts)
            for date, texts in by_date.items()
        )
        text = "; ".join(groups)
        more = len(reasons) - at_most
        return self.words.say("more_findings", findings=text, count=more) if more > 0 else text

    def item(self, item: Evidence, *, dated: bool = True, side: str = "") -> str:
        """A finding as it was used, in a few words; empty where it is none of the chart, or nobody knows of it.

        Where both sides are documented its own is said, unless it is this `side`.
        """
        finding = self.knowledge.findings.get(item.finding)
        if finding is None and item.finding not in OF_THE_PATIENT:
            return ""
        short = self.knowledge.short_of(item.finding)
        if item.state == "present":
            text = short
        elif item.state == "absent":
            text = self.words.say("not_present", finding=short)
        elif item.state == CONTRADICTORY:
            text = self.words.say("recorded_both_ways", finding=short)
        elif item.state == "unknown":
            return ""
        elif finding and finding.value == "date":
            text = f"{short} {as_people_write(item.state, self.now)}"
        else:
            text = f"{short} {with_unit(item.state, in_full=not dated)}"
            if dated and (date := as_people_write(item.date, self.now)):
                text = self.words.say("on_day", findings=text, date=date)
        if item.side and item.side not in (BILATERAL, side) and self.assessment.side == BILATERAL:
            text = self.words.say("of_side", finding=text, side=self.words.sides[item.side])
        for remark in item.remarks:
            if remark == SIDE_UNREADABLE:
                # It is said apart.
                continue
            text = self.words.say("with_remark", finding=text, remark=self.words.sentences[remark])
        return text

    def _led(self) -> list[Ranking]:
        return [ranking for ranking in self.assessment.rankings if ranking.leader]

    def _side_of(self, *fired: Fired) -> str:
        """The side that recommendations hold for."""
        sides = {item.side for each in fired for item in each.evidence if item.side}
        return sides.pop() if len(sides) == 1 else self.assessment.side

    def _side(self, content: Content) -> str:
        """The side that a card is about; the causes of both sides are named together."""
        both = "{cause}" in content.fired[0].recommendation.summary and len(self._led()) > 1
        return BILATERAL if both else self._side_decided(content.fired)

    def _side_decided(self, fired: Sequence[Fired]) -> str:
        """That of the first recommendation, or of the red flags that this one is about."""
        lead, *others = fired
        flags = [] if lead.recommendation.red_flag else [each for each in others if each.recommendation.red_flag]
        return self._side_of(lead, *flags)

    def _prefix(self, content: Content) -> str:
        side = "" if content.about else self._side(content)
        return "" if side in ("", NO_SIDE_NAMED) else f"{self.words.sides[side].capitalize()}: "

    def _deciding(self, fired: Sequence[Fired], side: str) -> tuple[list[str], list[str]]:
        """What made the card fire, in short, what is worrying first: of its first recommendation, and apart of each
        other red flag that is as urgent, one by one. Together where the first is about what the red flags call for.
        """
        lead, *_ = fired
        flags = [f for f in fired if f.recommendation.red_flag and f.indicator == lead.indicator]
        # What comes after the first tells of this pain only where it is clinical: a reason against a medicine does not.
        clinical = lead.recommendation.kind in CHART_KINDS and not flags

        def found(of: Fired) -> list[str]:
            return list(dict.fromkeys(self._worrying(of.evidence, side, clinical=clinical and of is not lead)))

        if not flags:
            # A draft is judged by facts of the hook context: what of the chart holds it comes before whatever else of
            # the chart was read on the way, such as why nothing else is open in its place.
            first = [] if lead.recommendation.kind in CHART_KINDS else [f for f in fired if holds(f.recommendation)]
            return next(filter(None, map(found, (*first, *fired))), []), []
        if lead is not flags[0]:
            return list(_in_turn(list(map(found, flags)))), []
        of_lead = found(lead)
        return of_lead, [item for item in _in_turn(list(map(found, flags[1:]))) if item not in of_lead]

    def _counting(self) -> Iterator[str]:
        """What is present and speaks for the cause with the most points of each side."""
        assessment, findings = self.assessment, self.knowledge.findings
        for ranking in assessment.rankings:
            for name in ranking.causes[0].speaks_for:
                if name in findings and assessment.case and findings[name].value == "boolean":
                    said = assessment.case.resolve(name, ranking.side, with_sideless=True)
                    if said.value is True:
                        yield self.knowledge.short_of(name)

    def _located(self) -> Iterator[str]:
        """What makes this the complaint: where the pain is."""
        findings = self.knowledge.findings
        # A danger beside pain nearby stands on the age as well, which is no place.
        of_chart = (item for item in self.assessment.located_by if item.finding in findings)
        located = sorted(of_chart, key=lambda item: findings[item.finding].kind != "symptom")
        yield from filter(None, map(self.item, located))

    def _worrying(self, evidence: Iterable[Evidence], side: str, *, clinical: bool = False) -> Iterator[str]:
        """What is present, what speaks for a danger first; the onset is told in days."""
        findings = self.knowledge.findings
        present = [item for item in evidence if item.finding in findings and item.state not in ("absent", "unknown")]
        for item in sorted(present, key=lambda item: findings[item.finding].direction != "worrying"):
            finding = findings[item.finding]
            if finding.value != "date" and (not clinical or finding.kind in CLINICAL_KINDS):
                yield self.item(item, side=side)

    def _place(self, content: Content, of_card: Callable[[str], str], named: Sequence[str], name: str) -> str:
        match name:
            case "findings":
                return ", ".join(named)
            case "orders":
                return self.all_of(content.orders)
            case "cause" if not content.causes:
                return ""
            case "window" if not content.orders:
                return ""
        return of_card(name)

    def _of_card(self, content: Content, name: str) -> str:
        """What stands in a place however much of the card is told."""
        match name:
            case "cause":
                text = self.causes()
            case "order":
                text = content.about
            case "side":
                text = self._side_in_words()
            case "by":
                text = self._by(content.fired)
            case "window":
                text = self._window(content.fired)
            case "day":
                text = self._day(content.fired[0])
            case "where":
                text = next(self._located(), "")
            case _:
                # A fact of the hook context, of which one kind is judged at a time.
                states = (item.state for fired in content.fired for item in fired.evidence if item.finding == name)
                text = next(states, "")
        return text

    def _side_in_words(self) -> str:
        return "" if self.assessment.side == NO_SIDE_NAMED else self.words.sides[self.assessment.side]

    def _by(self, fired: Iterable[Fired]) -> str:
        allowed = [
            days_allowed(self.knowledge, self.assessment, one)
            for one in fired
            if one.indicator in URGENT and one.recommendation.kind in ("red-flag", "plan")
        ]
        if not allowed:
            return ""
        return self._in_days(min(allowed))

    def _window(self, fired: Sequence[Fired]) -> str:
        left = window_left(self.knowledge, self.assessment, fired)
        return "" if left is None else self._in_days(left)

    def _in_days(self, days: int) -> str:
        if not days:
            return self.words.sentences["today"]
        day = (self.now + timedelta(days=days)).date()
        return self.words.say("by_date", date=as_people_write(day.isoformat(), self.now))

    def _day(self, fired: Fired) -> str:
        since = self.assessment.days_since_onset(fired)
        exact = {days.low for days in since if days.low == days.high}
        return f"{exact.pop():g}" if len(exact) == 1 and len(since) == 1 else ""

    def causes(self) -> str:
        """The leading cause of each side, as certain as it is."""
        led = self._led()
        if len(led) < 2:
            return "".join(map(self._cause, led))
        causes, sides = [self._cause(one) for one in led], [self.words.sides[one.side] for one in led]
        if len({*causes}) == 1:
            return causes[0]
        found = zip(causes, sides, strict=True)
        return "; ".join(self.words.say("of_side", finding=cause, side=side) for cause, side in found)

    def _cause(self, ranking: Ranking) -> str:
        causes, leader = self.knowledge.causes, ranking.leader
        if leader is None:
            return ""
        first = in_a_sentence(causes[leader.id].title)
        if ranking.clear:
            return self.words.say("pattern_of", first=first)
        if other := ranking.second:
            return self.words.say("either", first=first, other=in_a_sentence(causes[other].title))
        return self.words.say("possibly", first=first)

    def all_of(self, names: Sequence[str]) -> str:
        """Names as they stand in a sentence."""
        *first, last = names or ("",)
        return self.words.say("all_of", first=", ".join(first), last=last) if first else last
