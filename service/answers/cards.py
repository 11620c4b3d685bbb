"""Which cards an answer has, and what can be done from them. No clinical sentence stands here: they are in knowledge/.

One card for each urgency tier and one for what is not urgent, most urgent first. What a card says is written by
short_text.py, or by full_text.py for a client that wants the whole depth. Nothing of the chart's free text is repeated.
Specification: CDS Service Response.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from itertools import chain, islice
from typing import Any, Literal
from urllib.parse import urlencode

import msgspec
from msgspec.structs import replace

from cds_hooks import (
    Action,
    Card,
    Coding,
    HookRequest,
    Indicator,
    Link,
    PrefetchState,
    Source,
    Suggestion,
    SystemAction,
)
from service.answers.answered import AdvisedCard, Answered
from service.answers.card_lines import CardLines, Saying, as_people_write, holds
from service.answers.content import Content
from service.answers.extension import (
    BASIS_KEY,
    as_written,
    assessment_extension,
    evidence_extension,
    filled,
    knowledge_extension,
    would_change_extension,
)
from service.answers.full_text import FullText
from service.answers.muting import said, suspended_among, without_muted
from service.answers.orders import Indications, Ordering, service_request
from service.answers.short_text import LONGEST_SUMMARY, ShortText
from service.chart.assertions import SIDE_UNREADABLE, Assertion
from service.chart.medicines import Unrecognised
from service.chart.orders import NOTHING_ORDERED, OnChart, Order
from service.knowledge_model.conditions import CONTRADICTORY
from service.knowledge_model.model import TOPIC_SYSTEM, Knowledge, in_a_sentence
from service.knowledge_model.vocabulary import INDICATORS, PRIORITIES
from service.prefetch_keys import COMPLAINT, MEDICINES, ON_CHART, kind_of
from service.pseudonyms import CardIds
from service.reasoning.assessment import Assessment, Judgement
from service.reasoning.differential import NO_SIDE_NAMED
from service.reasoning.evidence import UNKNOWN_AT_MOST, Evidence, Fired, reads_of
from service.reasoning.order_matching import Call, OrderMatching
from service.reasoning.questions import WouldChange
from service.reasoning.unread_values import UnreadValues
from service.release.muting import NOTHING, Muted
from service.release.states import Standings
from service.settings import AS_IT_IS, Style
from service.why_address import ADVICE, path_of

OVERRIDE_SYSTEM = "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes"
_Selection = Literal["at-most-one", "any"]
_PROBLEM = "Something wrong with this card"
_SUGGESTIONS = 4
# What is asked comes first among what is not documented, then the tests that decide the leading cause.
_ASKED_AND_READ = 3
# The roles of topics on whose cards medicines matter, and those on which one is named without an order of it, of which
# a card of its own speaks.
_ON_TREATMENT = ("diagnosis", "treatment", "analgesic-order", "going-home")
_NAME_MEDICINES = ("diagnosis", "treatment", "going-home")


class Change(msgspec.Struct, frozen=True):
    """A suggestion on a card of advice; `name` tells it from the others of its card.

    It has an action at least, and what is new comes before what is taken away: the specification leaves the order of
    actions open, and the official sandbox ends at a deletion and breaks where there is no action. `order` is the key in
    orders.toml of an order that it does no more than propose: once that is placed, it goes.
    """

    name: str
    label: str
    actions: tuple[Action, ...]
    recommended: bool = False
    order: str = ""
    # The key of an order that it proposes beside the draft, for the words of the card.
    proposes: str = ""
    # Of each of these groups of recommendations one at least must be said, or the change is not.
    stands_on: tuple[frozenset[str], ...] = ()


class Advice(msgspec.Struct, frozen=True):
    """A card about something in the hook context: `about` names it, such as the reference of a draft order.

    `fired` are the recommendations that hold for it, the most important first. With more than one change, the
    clinician picks one, or where `several` any of them. `notes` are further lines of its reasons; `title` is how the
    draft is called that it is about, if any. `to_patient` are the recommendations, by id, whose words the patient takes
    home.
    """

    topic: str
    about: str
    fired: tuple[Fired, ...]
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    several: bool = False
    title: str = ""
    to_patient: tuple[str, ...] = ()


class Responder:
    """Answers by one body of knowledge; what is the same on every card is made once.

    `style_of` says by the client's name how it likes its answers; `address_of` makes of a path the address at which
    the pages are found that cards link to, where there are any; `app_at` says of a call where its EHR launches the
    page of the second opinion, empty where it does not; `problems_at` is the address at which a site hears what is
    wrong with a card, empty where it has none.
    """

    def __init__(
        self,
        knowledge: Knowledge,
        ids: CardIds | None = None,
        style_of: Callable[[str | None], Style] = lambda _client: AS_IT_IS,
        address_of: Callable[[str], str] | None = None,
        app_at: Callable[[HookRequest], str] = lambda _call: "",
        *,
        problems_at: str = "",
    ) -> None:
        self.knowledge, self.style_of, self.address_of, self.app_at = knowledge, style_of, address_of, app_at
        self.problems_at = problems_at
        self.ids = ids or CardIds()
        self.override_reasons = tuple(
            Coding(code=code, system=OVERRIDE_SYSTEM, display=display)
            for code, display in knowledge.wording.override_reasons
        )
        self.sources = {
            topic.id: Source(topic.label, topic=Coding(code=topic.id, system=TOPIC_SYSTEM, display=topic.display))
            for topic in knowledge.wording.topics.values()
        }
        roles = knowledge.engine
        self.topics = roles.topics
        # The urgent tiers each have one card.
        self.topic_of_tier = {tier: self.topics[tier] for tier in INDICATORS[:2]}
        # What another medicine or an allergy may speak against.
        self.medicines = frozenset(medicine.treatment for medicine in roles.medicines.values())
        self.sayings = {each.id: Saying.of(each, knowledge) for each in knowledge.recommendations}
        self.unread_values = UnreadValues(knowledge)
        self.indications = Indications(knowledge)
        self.reads = reads_of(knowledge)
        self._written: tuple[Standings, Mapping[str, dict[str, Any]]] | None = None

    def as_written(self, standings: Standings) -> Mapping[str, dict[str, Any]]:
        """What the basis of a card says of each recommendation, whatever the chart: made anew where a state changes."""
        if self._written is None or self._written[0] is not standings:
            every = self.knowledge.recommendations
            self._written = standings, {r.id: as_written(r, standings.by_id[r.id]) for r in every}
        return self._written[1]

    def respond(
        self,
        assessment: Assessment,
        request: HookRequest,
        now: datetime,
        on_chart: OnChart = NOTHING_ORDERED,
        *,
        would_change: Callable[[Collection[str]], Iterable[WouldChange]] = lambda _topics: (),
        standings: Standings,
        muted: Muted = NOTHING,
    ) -> Answered:
        """The answer to a hook: cards for the clinician, the assessment for the machine.

        A card whose every suggestion is ordered already, since its newest finding, is left out and named instead.
        `would_change`: what single answers would do to the cards of topics, see Assessor.would_change; `standings`:
        what of the knowledge is in force at this call; `muted`: what is not said.
        """
        cards = _Cards(self, assessment, request, now, on_chart=on_chart, standings=standings, muted=muted)
        advised = tuple(cards.in_order()) if assessment.fired else tuple(cards.complaint_not_read())
        advised = (*advised, *cards.instead_of_none(advised))
        sent = {each.card.source.topic.code for each in advised if each.card.source.topic} - cards.muted_topics
        members = {
            "silenced": cards.silenced,
            "wouldChange": [would_change_extension(change) for change in would_change(sent)],
            "suspended": list(suspended_among(assessment.fired, muted)),
        }
        return Answered(assessment, advised, cards.extension(members), assessment.fired, muted=muted)

    def advise(
        self,
        assessment: Assessment,
        advice: Iterable[Advice],
        request: HookRequest,
        now: datetime,
        on_chart: OnChart = NOTHING_ORDERED,
        *,
        judged: Mapping[str, Any],
        judgements: Iterable[Judgement] = (),
        would_change: Sequence[WouldChange] = (),
        system_actions: tuple[SystemAction, ...] = (),
        standings: Standings,
        muted: Muted = NOTHING,
    ) -> Answered:
        """The answer to a hook at which there is something to judge: a card for each advice.

        What it judges is still to be dealt with when the orders that a card suggests are placed: the card stays, and
        names them instead. `judged` are members that join the assessment in the extension, such as the rating of each
        order; `judgements` what they stand on; `would_change`: what single answers would do to its cards; `muted` as of
        respond.
        """
        advice = tuple(_told_apart(advice))
        fired = tuple(one for each in advice for one in each.fired)
        suspended = suspended_among((*assessment.fired, *fired), muted)
        untouched = {each.about for each in advice if len(said(each.fired, muted)) == len(each.fired)}
        members = {
            **judged,
            "wouldChange": [
                would_change_extension(change) for change in would_change if not advice or change.about in untouched
            ],
            "suspended": list(suspended),
        }
        cards = _Cards(self, assessment, request, now, on_chart=on_chart, standings=standings, muted=muted)
        advised = tuple(cards.of_advice(advice))
        return Answered(
            assessment,
            (*advised, *cards.instead_of_none(advised)),
            cards.extension(members),
            fired,
            system_actions,
            tuple(judgements),
            muted=muted,
        )

    def of_suspended_service(self, answered: Answered, since: datetime, now: datetime) -> Answered:
        """The answer of a service that is suspended: one card that says so where there would have been any, and nothing
        else; what would have fired is named.
        """
        date = as_people_write(since.isoformat(), now)
        cards = tuple(
            AdvisedCard(
                self.notice(
                    each.card.uuid, each.card.source, self.knowledge.wording.say("service_suspended", date=date)
                )
            )
            for each in answered.advised[:1]
        )
        fired = dict.fromkeys(each.recommendation.id for each in (*answered.assessment.fired, *answered.fired))
        kept = {name: answered.extension[name] for name in ("knowledge", "complaint", "side", "data", "leftOut")}
        extension = {**kept, **filled({"suspended": list(fired)})}
        return replace(answered, advised=cards, extension=extension, system_actions=(), service_suspended=True)

    def names_suspended(self, ids: Sequence[str], muted: Muted, now: datetime) -> Iterator[str]:
        """A line that names these recommendations and since when they are suspended; none where there are none."""
        if ids:
            since = (as_people_write(muted.suspended[id_].isoformat(), now) for id_ in ids)
            listed = "; ".join(f"{id_}, {date}" for id_, date in zip(ids, since, strict=True))
            values: dict[str, object] = {"count": len(ids)} if len(ids) > 1 else {}
            yield self.knowledge.wording.say(
                "suspended" if len(ids) == 1 else "several_suspended", recommendations=listed, **values
            )

    def notice(self, uuid: str, source: Source, line: str) -> Card:
        """A card that says nothing but what is not said; in its text, where that is too long for a headline."""
        short = len(line) <= LONGEST_SUMMARY
        return Card(
            uuid=uuid,
            summary=(line if short else self.knowledge.wording.sentences["all_suspended"]).removesuffix("."),
            indicator=Indicator.INFO,
            source=replace(source, url=None),
            detail=None if short else line,
            override_reasons=self.override_reasons,
        )

    def of_deceased(self, answered: Answered) -> Answered:
        """The answer where the chart records that the patient has died: one card that says so in place of all others,
        and nothing to order. It may be an error, so that it is said wherever there was something to say.
        """
        cards = tuple(
            AdvisedCard(
                replace(
                    advised.card,
                    summary=self.knowledge.wording.sentences["deceased"],
                    indicator=Indicator.INFO,
                    detail=None,
                    suggestions=(),
                    selection_behavior=None,
                    links=(),
                    extension=None,
                )
            )
            for advised in answered.advised[:1]
        )
        extension = {**answered.extension, "deceased": True}
        return replace(answered, advised=cards, extension=extension, fired=(), system_actions=())

    def unread(self, found: Iterable[Assertion], now: datetime) -> Iterator[str]:
        """A line for each finding that could not be read."""
        for one in found:
            measured = self.knowledge.findings[one.finding].value == "quantity"
            sentence, title = (
                "value_not_read" if measured else "recorded_not_readable",
                self.knowledge.title_of(one.finding),
            )
            yield self.knowledge.wording.say(sentence, finding=title, date=self.date_of(one, now))

    def unrecognised(self, found: Sequence[Unrecognised], now: datetime) -> Iterator[str]:
        """A line for each medicine and each allergy of which nothing could be read; the last counts those left."""
        for one in found[:UNKNOWN_AT_MOST]:
            yield self.knowledge.wording.say(f"{one.kind}_not_read", date=self.date_of(one, now))
        if more := len(found[UNKNOWN_AT_MOST:]):
            yield self.knowledge.wording.say("more_not_read", count=more)

    def date_of(self, one: Assertion | Unrecognised | Order, now: datetime) -> str:
        """When it was recorded, in words."""
        date = as_people_write(one.when.text, now) if one.when else ""
        return date or self.knowledge.wording.sentences["undated"]

    def order(
        self, assessment: Assessment, request: HookRequest, now: datetime, *, call: Call, side: str, behind: Fired
    ) -> Action:
        """What makes the order that is called for on a side; its reasons are those that `behind` stands on."""
        reasons, resources = self.indications.of(assessment, behind), (item.resource for item in behind.evidence)
        ordering = Ordering.of(request, side, now, reasons, resources)
        made = service_request(self.knowledge.orders[call.key], call.priority, ordering, self.knowledge.wording.sides)
        return Action("create", made["code"]["text"], resource=made)


def _told_apart(advice: Iterable[Advice]) -> Iterator[Advice]:
    advice = tuple(advice)
    for each, about in zip(advice, numbered(each.about for each in advice), strict=True):
        yield each if about == each.about else replace(each, about=about)


def numbered(names: Iterable[str]) -> Iterator[str]:
    """Each a name of its own: drafts without an id are named alike, and numbered from the second on."""
    seen: Counter[str] = Counter()
    for name in names:
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}|{seen[name]}"


class _Cards:
    """The cards of one answer. Which there are, and in which order, is decided by the whole assessment; what they say,
    by what is not muted of it, so that what is muted only ever takes something away.
    """

    def __init__(
        self,
        responder: Responder,
        assessment: Assessment,
        request: HookRequest,
        now: datetime,
        *,
        on_chart: OnChart,
        standings: Standings,
        muted: Muted,
    ) -> None:
        self.responder, self.whole, self.request, self.now = responder, assessment, request, now
        self.assessment, self.muted = without_muted(assessment, muted, responder.reads), muted
        self.on_chart, self.standings = on_chart, standings
        self._findings_not_readable = [one for one in self.assessment.not_readable if isinstance(one, Assertion)]
        # What is suspended and has not been named on a card yet; the topics on whose cards anything is muted.
        self._unnamed: list[str] = []
        self.muted_topics: set[str] = set()
        # The orders that would be suggested if nothing were; None where nothing is.
        self._suggested: frozenset[str] | None = None
        self._lost_topic = ""
        self.silenced: list[dict[str, Any]] = []
        self.knowledge = responder.knowledge
        self.words = self.knowledge.wording
        self.diagnostic_topic = self.first_topic = ""
        self.lines = CardLines(self.knowledge, assessment, now)
        self.text = ShortText(self.knowledge, self.lines, standings, responder.sayings)
        self.full = responder.style_of(request.client).detail == "full"

    def extension(self, members: Mapping[str, Any]) -> dict[str, Any]:
        """What is said of the assessment, for programs, and these members that have a value."""
        assessed = assessment_extension(self.knowledge, self.assessment, self.standings, self.on_chart)
        return {**assessed, **filled(members)}

    @cached_property
    def matching(self) -> OrderMatching:
        # Most answers have no card.
        return OrderMatching(self.knowledge, self.whole, self.on_chart, self.now)

    def in_order(self) -> Iterator[AdvisedCard]:
        tiers: dict[str, list[Fired]] = {}
        for fired in self.whole.fired:
            topic = self.responder.topic_of_tier.get(fired.indicator, fired.recommendation.topic)
            tiers.setdefault(topic, []).append(fired)
        topics, sayings = self.responder.topics, self.responder.sayings
        treatment = tiers.pop(topics["treatment"], [])
        if topics["critical"] in tiers:
            # Treatment waits for the evaluation; what must not be given is said.
            tiers[topics["critical"]] += [each for each in treatment if holds(each.recommendation)]
        elif treatment:
            # The plan of imaging and that of treatment are one decision, unless one of them is ordered already.
            plan = tiers.get(topics["diagnosis"], [])
            together = plan and not (self._are_placed(plan) or self._are_placed(treatment))
            tiers[topics["diagnosis" if together else "treatment"]] = [*(plan if together else ()), *treatment]
        # The causes stand on the card about diagnosis; where red flags left none, on the most urgent one.
        self.diagnostic_topic = next(
            (
                topic
                for topic in (topics["diagnosis"], *self.responder.topic_of_tier.values())
                if topic in tiers and self._is_said(tiers[topic]) and self.assessment.rankings
            ),
            "",
        )
        in_order = [topic for topic in self.words.topics if topic in tiers]
        self.first_topic = next((topic for topic in in_order if self._is_said(tiers[topic])), "")
        if self.muted.ids:
            whole = (self._left(*self._dealt_with(fired, self._own_calls(fired))) for fired in tiers.values())
            self._suggested = frozenset(call.key for left in whole for call in left[:_SUGGESTIONS])
        # What has lost its card is named on the first that there is.
        for topic in in_order:
            if not self._is_said(tiers[topic]):
                self._lose(topic, tiers[topic])
        for topic in in_order:
            if self._is_said(tiers[topic]):
                of_topic = sorted(tiers[topic], key=lambda each: sayings[each.recommendation.id].comes_first)
                yield from self._chart_card(topic, of_topic)

    def _said(self, fired: Iterable[Fired]) -> tuple[Fired, ...]:
        """Those of these that are said."""
        if not self.muted.ids:
            return tuple(fired)
        spoken = {each.recommendation.id for each in self.assessment.fired}
        # What is judged beside the chart, and what it stands on, need not be said of the chart.
        of_chart = {each.recommendation.id for each in self.whole.fired}
        return tuple(
            each
            for each in said(fired, self.muted)
            if each.recommendation.id in spoken or each.recommendation.id not in of_chart
        )

    def _is_said(self, fired: Iterable[Fired]) -> bool:
        return bool(self._said(fired))

    def _lose(self, topic: str, fired: Iterable[Fired]) -> None:
        """Note that a card has nothing to say any more."""
        self._unnamed += suspended_among(fired, self.muted)
        self._lost_topic = self._lost_topic or topic

    def _suspended(self) -> Iterator[str]:
        """A line that names what is suspended and was not named yet."""
        named, self._unnamed = [*dict.fromkeys(self._unnamed)], []
        yield from self.responder.names_suspended(named, self.muted, self.now)

    def instead_of_none(self, advised: Sequence[AdvisedCard]) -> Iterator[AdvisedCard]:
        """One card that names what is suspended, where no other does: an empty list would say that nothing is due."""
        if not advised:
            for line in self._suspended():
                yield AdvisedCard(
                    self.responder.notice(self._uuid(self._lost_topic), self.responder.sources[self._lost_topic], line)
                )

    def complaint_not_read(self) -> Iterator[AdvisedCard]:
        """A card where a finding that would be this complaint is recorded, and none of them can be read: without it, a
        chart that may hold red flags would look like one that says nothing.
        """
        findings = self.knowledge.findings
        unread = [one for one in self._findings_not_readable if findings[one.finding].defines_complaint]
        if self.assessment.complaint == "unknown" and unread:
            card = Card(
                uuid=self._uuid(self.responder.topics["questions"]),
                summary=self.words.sentences["complaint_not_readable"],
                indicator=Indicator.INFO,
                source=self.responder.sources[self.responder.topics["questions"]],
                detail=f"**{self.words.headings['check']}** " + " ".join(self.responder.unread(unread, self.now)),
                override_reasons=self.responder.override_reasons,
            )
            yield AdvisedCard(card)

    def of_advice(self, advice: Sequence[Advice]) -> Iterator[AdvisedCard]:
        """A card for each advice of which anything is said."""
        for each in advice:
            if not self._said(each.fired):
                self._lose(each.topic, each.fired)
        for each in advice:
            if spoken := self._said(each.fired):
                yield self._advice_card(self._muted_advice(each, spoken) if len(spoken) < len(each.fired) else each)

    def _muted_advice(self, advice: Advice, spoken: tuple[Fired, ...]) -> Advice:
        """What is left of an advice: nothing to do where all that judged what it is about is muted."""
        self._unnamed += suspended_among(advice.fired, self.muted)
        kind = advice.fired[0].recommendation.kind
        if not any(each.recommendation.kind == kind for each in spoken):
            return replace(advice, fired=spoken, changes=(), notes=())
        return replace(advice, fired=spoken)

    def _stands(self, change: Change) -> bool:
        """Whether it stands on what is said."""
        return all(group - self.muted.ids for group in change.stands_on)

    def _advice_card(self, advice: Advice) -> AdvisedCard:
        uuid = self._uuid(advice.topic, advice.about)
        standing = self._standing(advice.fired)
        placed = {
            change.name: order
            for change in advice.changes
            if change.order and (order := self._placed_as(change.order, standing))
        }
        ordered = (self._order_note("already_ordered", order.key, order) for order in placed.values())
        left = [change for change in advice.changes if change.name not in placed]
        suggestions = tuple(
            Suggestion(
                label=change.label,
                uuid=self._uuid(uuid, change.name),
                is_recommended=True if change.recommended else None,
                actions=change.actions,
            )
            for change in left[:_SUGGESTIONS]
            if self._stands(change)
        )
        proposed = [key for change in left if self._stands(change) and (key := change.order or change.proposes)]
        orders = [self.knowledge.orders[key].short for key in proposed]
        one_of: _Selection = "at-most-one" if len(suggestions) > 1 and not advice.several else "any"
        notes = (*advice.notes, *ordered)
        return self._card(
            advice.topic,
            advice.fired,
            uuid,
            suggestions,
            one_of,
            notes=notes,
            orders=orders,
            about=advice.title,
            to_patient=advice.to_patient,
        )

    def _chart_card(self, topic: str, fired: Sequence[Fired]) -> Iterator[AdvisedCard]:
        """The card of a topic; none where every order that it would suggest has been placed."""
        uuid = self._uuid(topic)
        calls, placed, done = self._dealt_with(fired, self._calls(fired))
        if calls and all(placed.values()):
            references = dict.fromkeys(order.reference for orders in placed.values() for order in orders)
            self.silenced.append({"topic": topic, "orders": list(references)})
            return
        left = self._left(calls, placed, done)
        spoken, called = self._said(fired), self._spoken_calls(fired)
        if len(spoken) < len(fired):
            self.muted_topics.add(topic)
            self._unnamed += suspended_among(fired, self.muted)
        standing = ((key, orders[0]) for key, orders in placed.items() if orders and key in called)
        notes = (
            *(self._order_note("already_done", key, order) for key, order in done.items() if key in called),
            *(self._order_note("already_ordered", key, order) for key, order in standing),
        )
        suggestions = tuple(self._suggestions(uuid, spoken, left[:_SUGGESTIONS], called))
        orders = [self.knowledge.orders[call.key].short for call in left if call.key in called]
        yield self._card(topic, spoken, uuid, suggestions, "any", notes=notes, orders=orders)

    def _dealt_with(
        self, fired: Sequence[Fired], calls: Sequence[Call]
    ) -> tuple[Sequence[Call], dict[str, Sequence[Order]], dict[str, Order]]:
        """These calls of a card, the orders that stand for each, none where it has to be made, and what was done of
        those that have been.
        """
        done = {call.key: order for call in calls if (order := self._done(call))}
        return calls, self._placed(fired, calls), done

    def _placed(self, fired: Sequence[Fired], calls: Iterable[Call]) -> dict[str, Sequence[Order]]:
        """The orders that stand for each of these calls; none where it has to be made."""
        standing = self._standing(fired)
        return {call.key: self.matching.satisfying(call, standing) if standing else () for call in calls}

    def _left(
        self, calls: Iterable[Call], placed: Mapping[str, Sequence[Order]], done: Mapping[str, Order]
    ) -> list[Call]:
        """Those of these calls that are neither ordered already nor done and nothing new since."""
        return [
            call
            for call in calls
            if not placed[call.key] and (call.key not in done or self.matching.changed_since(done[call.key]))
        ]

    def _are_placed(self, fired: Sequence[Fired]) -> bool:
        placed = self._placed(fired, self._calls(fired)) if self.on_chart.placed else {}
        return bool(placed) and all(placed.values())

    def _order_note(self, sentence: str, key: str, order: Order) -> str:
        """What was ordered or done, which need not be what is called for but answers it."""
        template = self.knowledge.orders.get(order.key) or self.knowledge.orders[key]
        return self.words.say(sentence, title=template.title, date=self.responder.date_of(order, self.now))

    def _standing(self, fired: Sequence[Fired]) -> list[Order]:
        """The orders that stand and are no older than what the card stands on."""
        return [
            order
            for order in self.on_chart.placed
            if (when := order.when)
            and not self.assessment.began_since(when)
            and not any(self.assessment.is_news(item, when) for one in fired for item in one.evidence)
        ]

    def _placed_as(self, key: str, standing: Sequence[Order]) -> Order | None:
        """The order of this template among those that stand."""
        if not standing:
            return None
        side = self.matching.compared(key, self.assessment.side)
        return next((order for order in standing if order.covers(key, side)), None)

    def _done(self, call: Call) -> Order | None:
        """The newest imaging that this suggestion would repeat within the set time."""
        if not self.on_chart.done:
            return None
        answers = self.matching.satisfying(call, self.matching.recently_done)
        return max(answers, key=lambda order: order.when.high if order.when else self.now, default=None)

    def _card(
        self,
        topic: str,
        fired: Sequence[Fired],
        uuid: str,
        suggestions: tuple[Suggestion, ...],
        selection: _Selection,
        *,
        notes: Sequence[str] = (),
        orders: Sequence[str] = (),
        about: str = "",
        to_patient: Sequence[str] = (),
    ) -> AdvisedCard:
        evidence, orders = self._evidence(fired), tuple(dict.fromkeys(orders))
        asking = (self.diagnostic_topic, *self._topics("questions", "imaging-order"))
        content = Content(
            topic,
            fired,
            evidence,
            self._not_documented(topic, fired),
            notes,
            orders,
            about,
            (*self._suspended(), *self._sides_not_read(evidence), *self._checks(topic, evidence)),
            orders[_SUGGESTIONS:],
            asks=self.assessment.ask if topic in asking else (),
            causes=topic == self.diagnostic_topic,
        )
        pages = {"why_link": path_of([item.recommendation.id for item in fired])}
        if to_patient:
            pages["advice_link"] = path_of(to_patient, ADVICE)
        address_of, sentences = self.responder.address_of, self.words.sentences
        links = [Link(sentences[name], address_of(at), "absolute") for name, at in pages.items()] if address_of else []
        summary, source = self.text.summary(content), self.responder.sources[topic]
        in_full = FullText(self.knowledge, self.assessment, self.standings).detail(content) if self.full else None
        card = Card(
            uuid=uuid,
            summary=summary,
            indicator=Indicator(fired[0].indicator),
            detail=in_full or self.text.detail(content, summary),
            source=Source(source.label, links[0].url if links else None, topic=source.topic),
            suggestions=suggestions,
            selection_behavior=selection if suggestions else None,
            override_reasons=self.responder.override_reasons,
            links=(*links, *self._app_link(), *self._problem_link(uuid, fired)),
            extension={BASIS_KEY: self._basis(content)},
        )
        return AdvisedCard(card, tuple(fired))

    def _app_link(self) -> Iterator[Link]:
        """The link that opens the page of the second opinion in the EHR, where the client has that app."""
        if address := self.responder.app_at(self.request):
            label = "app_link_asks" if self.assessment.ask else "app_link"
            yield Link(self.words.sentences[label], address, "smart")

    def _problem_link(self, uuid: str, fired: Sequence[Fired]) -> Iterator[Link]:
        """The link to the page of the site that takes what is wrong with a card. The audit trail knows the call by the
        id of the card; a correlation id may be anything that a caller has sent."""
        if address := self.responder.problems_at:
            about = urlencode({"card": uuid, "recommendations": " ".join(each.recommendation.id for each in fired)})
            yield Link(_PROBLEM, f"{address}{'&' if '?' in address else '?'}{about}", "absolute")

    def _uuid(self, *parts: str) -> str:
        return self.responder.ids.of(self.request.hook_instance, self.request.patient_id, self.knowledge.id, *parts)

    def _topics(self, *roles: str) -> tuple[str, ...]:
        return tuple(self.responder.topics[role] for role in roles)

    # -- what it stands on --------------------------------------------------------------------------------------------

    def _evidence(self, fired: Sequence[Fired]) -> list[Evidence]:
        """Every finding that the recommendations of a card used, once for each side and state.

        A recommendation may stand on what is not documented; then the card shows what makes this the complaint.
        """
        seen = {(item.finding, item.side, item.state): item for fire in fired for item in fire.evidence}
        return list(seen.values()) or list(self.assessment.located_by)

    def _sides_not_read(self, evidence: Iterable[Evidence]) -> Iterator[str]:
        found = [self.knowledge.short_of(item.finding) for item in evidence if SIDE_UNREADABLE in item.remarks]
        if found:
            remark = self.words.sentences[SIDE_UNREADABLE]
            yield self.words.say("with_remark", finding=", ".join(found), remark=remark)

    def _checks(self, topic: str, evidence: Iterable[Evidence]) -> Iterator[str]:
        if self.assessment.lacking:
            yield from self._missing_data(topic)
        if topic in self._topics(*_NAME_MEDICINES) and (case := self.assessment.case) and self.assessment.decision:
            offered = self.assessment.offered()
            unread = self.responder.unread_values
            responder, now = self.responder, self.now
            yield from responder.unread(unread.of(case), now) if offered & unread.treatments else ()
            yield from responder.unrecognised(case.unrecognised, now) if offered & responder.medicines else ()
        if topic == self.first_topic:
            yield from self.responder.unread(self._findings_not_readable[:UNKNOWN_AT_MOST], self.now)
        if topic == self.first_topic and self.assessment.side == NO_SIDE_NAMED:
            yield self.words.sentences["no_side"]
        told = {item.finding for item in evidence if item.state == CONTRADICTORY}
        for name in (each for each in self.assessment.contradictory if each not in told):
            yield self.words.say("contradictory", finding=self.knowledge.title_of(name))
        for name in self.assessment.without_side:
            yield self.words.say("side_unclear", finding=self.knowledge.title_of(name))
        if self.assessment.left_out.other_patient:
            yield self.words.say("other_patient", count=self.assessment.left_out.other_patient)

    def _missing_data(self, topic: str) -> Iterator[str]:
        """What did not arrive and what came in part, each in one sentence for what may stand in it."""
        lacking, data = self.assessment.lacking, self.assessment.data
        in_part = {kind_of(key) for key in lacking if data[key] == PrefetchState.INCOMPLETE}
        not_at_all = {kind_of(key) for key in lacking} - in_part
        matters: dict[str, tuple[str, ...]] = {"data": COMPLAINT}
        if topic in self._topics(*_ON_TREATMENT):
            matters["medicines"] = tuple(kind for kind in MEDICINES if kind not in COMPLAINT)
        if topic in self._topics("imaging-order"):
            matters["orders"] = ON_CHART
        for about, kinds in matters.items():
            for how, found in (("missing", not_at_all), ("incomplete", in_part)):
                names = [self.words.data[kind] for kind in kinds if kind in found]
                if names:
                    yield self.words.say(f"{about}_{how}", data=", ".join([*names[:1], *map(in_a_sentence, names[1:])]))

    def _not_documented(self, topic: str, fired: Sequence[Fired]) -> list[str]:
        asked = (each.finding for each in self.assessment.ask)
        unknown = chain(asked, (name for item in fired for name in item.unknown))
        if topic == self.diagnostic_topic:
            unknown = chain(list(islice(unknown, _ASKED_AND_READ)), self._deciding_tests(), unknown)
        # What is recorded and cannot be read is documented.
        found = dict.fromkeys(one.finding for one in self._findings_not_readable)
        recorded = len(found)
        for name in unknown:
            found[name] = None
            if len(found) - recorded == UNKNOWN_AT_MOST:
                break
        return [*found][recorded:]

    def _deciding_tests(self) -> Iterator[str]:
        """The tests that speak for or against the leading cause and were not done."""
        leaders = {ranking.leader.id for ranking in self.assessment.rankings if ranking.leader}
        tests = (test.finding for test in self.knowledge.differential.tests if test.cause in leaders)
        yield from (name for name in tests if name in self.knowledge.findings and name not in self.assessment.known)

    # -- what can be acted on -----------------------------------------------------------------------------------------

    def _calls(self, fired: Sequence[Fired]) -> list[Call]:
        """The orders that a card would suggest, also what another would that is muted: what matters first comes first,
        emergency care before all.
        """
        if not self.muted.ids:
            return self._own_calls(fired)
        ids = {item.recommendation.id for item in fired}
        left_to_others = {call.key for call in self._whole if call.recommendation in self.muted.ids - ids}
        inherited = (c for c in self._spoken if c.key in left_to_others and c.recommendation in ids)
        return self._in_order([*self._own_calls(fired), *(c for c in inherited if c.key in self.knowledge.orders)])

    def _own_calls(self, fired: Sequence[Fired]) -> list[Call]:
        ids = {item.recommendation.id for item in fired}
        found = [call for call in self._whole if call.recommendation in ids and call.key in self.knowledge.orders]
        return self._in_order(found)

    def _in_order(self, calls: Iterable[Call]) -> list[Call]:
        emergency = f"referral-{self.knowledge.engine.emergency}"
        return sorted(calls, key=lambda call: (call.key != emergency, PRIORITIES.index(call.priority)))

    @property
    def _whole(self) -> tuple[Call, ...]:
        return (*self.whole.imaging, *self.whole.referrals)

    @property
    def _spoken(self) -> tuple[Call, ...]:
        return (*self.assessment.imaging, *self.assessment.referrals)

    def _spoken_calls(self, fired: Sequence[Fired]) -> dict[str, Call]:
        """What of it is said, by its key: something that is not muted calls for it, and no order stands for that."""
        ids = {item.recommendation.id for item in self._said(fired)}
        spoken = {call.key: call for call in self._spoken if call.recommendation in ids}
        if not self.muted.ids:
            return spoken
        standing = self._standing(fired)
        return {
            key: call
            for key, call in spoken.items()
            if call in self._whole or not (standing and self.matching.satisfying(call, standing))
        }

    def _suggestions(
        self, card: str, fired: Sequence[Fired], calls: Iterable[Call], spoken: Mapping[str, Call]
    ) -> Iterator[Suggestion]:
        by_id = {item.recommendation.id: item for item in fired}
        for number, whole in enumerate(calls):
            call = spoken.get(whole.key)
            if call is None or (self._suggested is not None and call.key not in self._suggested):
                continue
            side, behind = self.matching.side_of(call), by_id[call.recommendation]
            create = self.responder.order(self.assessment, self.request, self.now, call=call, side=side, behind=behind)
            yield Suggestion(
                label=order_label(self.knowledge, create.description, call.priority),
                uuid=self._uuid(card, call.key),
                is_recommended=True if number == 0 else None,
                actions=(create,),
            )

    def _basis(self, content: Content) -> dict[str, Any]:
        as_written = self.responder.as_written(self.standings)
        basis = {
            "knowledge": knowledge_extension(self.standings),
            "recommendations": [
                {
                    **as_written[item.recommendation.id],
                    "indicator": item.indicator,
                    **({"findings": [of.finding for of in item.evidence]} if item.evidence else {}),
                }
                for item in content.fired
            ],
            "findings": [evidence_extension(item) for item in content.evidence],
            "notDocumented": list(content.lacking),
        }
        return filled(basis)


def order_label(knowledge: Knowledge, title: str, priority: str) -> str:
    """What a suggestion to order this is called; that it is urgent is said."""
    words = knowledge.wording
    if priority != PRIORITIES[-1]:
        title = words.say("with_priority", title=title, priority=priority)
    return words.say("order_label", title=title)
