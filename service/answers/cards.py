"""Assessment -> cards and the machine-readable extension. No clinical sentence stands here: they are in knowledge/.

One card for each urgency tier and decision, most urgent first. Each says what to consider, why (findings with side,
date and resource), what was not documented, the evidence, and how to say no. Nothing of the chart's free text is
repeated.
Specification: CDS Service Response.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, Literal

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
from service.answers.orders import Ordering, service_request
from service.chart.assertions import Assertion
from service.chart.medicines import Unrecognised
from service.chart.orders import NOTHING_ORDERED, OnChart, Order
from service.knowledge_model.conditions import Interval, Value
from service.knowledge_model.model import TOPIC_SYSTEM, Knowledge, Recommendation, in_a_sentence
from service.knowledge_model.vocabulary import INDICATORS
from service.prefetch_keys import COMPLAINT, MEDICINES, ON_CHART, kind_of
from service.pseudonyms import CardIds
from service.reasoning.assessment import Assessment, Judgement
from service.reasoning.differential import NO_SIDE_NAMED, Ranking
from service.reasoning.evidence import UNKNOWN_AT_MOST, Evidence, Fired
from service.reasoning.order_matching import Call, OrderMatching
from service.reasoning.questions import Asked, WouldChange
from service.reasoning.unread_values import UnreadValues

BASIS_KEY = "org.sitbone.basis"
OVERRIDE_SYSTEM = "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes"
_Selection = Literal["at-most-one", "any"]
_SUMMARY = 139
_LINKS_AT_MOST = 3
# What is asked comes first among what is not documented, then the tests that decide the leading cause.
_ASKED_AND_READ = 3
# The roles of topics on whose cards medicines matter, and those on which one is named without an order of it, of which
# a card of its own speaks.
_ON_TREATMENT = ("treatment", "analgesic-order", "going-home")
_NAME_MEDICINES = ("treatment", "going-home")


@dataclass(frozen=True, slots=True)
class Change:
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


@dataclass(frozen=True, slots=True)
class Advice:
    """A card about something in the hook context: `about` names it, such as the reference of a draft order.

    `fired` are the recommendations that hold for it, the most important first. With more than one change, the
    clinician picks one, or where `several` any of them. `notes` are further lines of its reasons.
    """

    topic: str
    about: str
    fired: tuple[Fired, ...]
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    several: bool = False


class Responder:
    """Answers by one body of knowledge; what is the same on every card is made once."""

    def __init__(self, knowledge: Knowledge, ids: CardIds | None = None) -> None:
        self.knowledge = knowledge
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
        # The urgent tiers each have one card; what is not urgent is told apart by its decision.
        self.topic_of_tier = {tier: self.topics[tier] for tier in INDICATORS[:2]}
        # What another medicine or an allergy may speak against.
        self.medicines = frozenset(medicine.treatment for medicine in roles.medicines.values())
        self.unread_values = UnreadValues(knowledge)
        self.links = {r.id: tuple(_links(knowledge, r)) for r in knowledge.recommendations}
        self._recommendations = {r.id: r for r in knowledge.recommendations}
        # What the basis of a card says of a recommendation, whatever the chart.
        self.as_written = {r.id: _as_written(r) for r in knowledge.recommendations}
        # The same recommendations stand together on many cards.
        self.evidence_lines = lru_cache(maxsize=1024)(self._evidence_lines)

    def respond(
        self,
        assessment: Assessment,
        request: HookRequest,
        now: datetime,
        on_chart: OnChart = NOTHING_ORDERED,
        would_change: Sequence[WouldChange] = (),
    ) -> Answered:
        """The answer to a hook: cards for the clinician, the assessment for the machine.

        A card whose every suggestion is ordered already, since its newest finding, is left out and named instead.
        `would_change`: what single answers would do to the cards, see Assessor.would_change.
        """
        cards = _Cards(self, assessment, request, now, on_chart)
        advised = tuple(cards.in_order()) if assessment.fired else tuple(cards.complaint_not_read())
        sent = {each.card.source.topic.code for each in advised if each.card.source.topic}
        members = {
            "silenced": cards.silenced,
            "wouldChange": [_would_change(change) for change in would_change if change.topic in sent],
        }
        extension = {**assessment_extension(self.knowledge, assessment, on_chart), **_filled(members)}
        return Answered(assessment, advised, extension, assessment.fired)

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
    ) -> Answered:
        """The answer to a hook at which there is something to judge: a card for each advice.

        What it judges is still to be dealt with when the orders that a card suggests are placed: the card stays, and
        names them instead. `judged` are members that join the assessment in the extension, such as the rating of each
        order; `judgements` what they stand on; `would_change` as of respond.
        """
        advice, members = tuple(_told_apart(advice)), {**judged, "wouldChange": list(map(_would_change, would_change))}
        cards = _Cards(self, assessment, request, now, on_chart)
        return Answered(
            assessment,
            tuple(cards.advice_card(each) for each in advice),
            {**assessment_extension(self.knowledge, assessment, on_chart), **_filled(members)},
            tuple(fired for each in advice for fired in each.fired),
            system_actions,
            tuple(judgements),
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

    def unread(self, found: Iterable[Assertion]) -> Iterator[str]:
        """A line for each finding that could not be read."""
        for one in found:
            measured = self.knowledge.findings[one.finding].value == "quantity"
            sentence, title = (
                "value_not_read" if measured else "recorded_not_readable",
                self.knowledge.title_of(one.finding),
            )
            yield self.say(sentence, finding=title, date=self.date_of(one), resource=one.resource)

    def unrecognised(self, found: Sequence[Unrecognised]) -> Iterator[str]:
        """A line for each medicine and each allergy of which nothing could be read; the last counts those left."""
        for one in found[:UNKNOWN_AT_MOST]:
            yield self.say(f"{one.kind}_not_read", resource=one.resource, date=self.date_of(one))
        if more := len(found[UNKNOWN_AT_MOST:]):
            yield self.say("more_not_read", count=more)

    def date_of(self, one: Assertion | Unrecognised) -> str:
        """When it was recorded, in words."""
        return one.when.text if one.when else self.knowledge.wording.sentences["undated"]

    def say(self, sentence: str, **values: object) -> str:
        """A sentence of wording.toml, filled in."""
        return self.knowledge.wording.sentences[sentence].format(**values)

    def _evidence_lines(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        """The evidence of a card that carries these recommendations; nothing of a chart is in it."""
        words, recommendations = self.knowledge.wording, [self._recommendations[id_] for id_ in ids]
        strengths = [
            words.sentences["strength"].format(
                strength=words.strengths[strength],
                statements=", ".join(dict.fromkeys(s for r in alike for s in r.statements)) or "-",
                evidence=", ".join(f"[{tag}]" for tag in _tags(alike)) or "-",
            )
            for strength, alike in _by_strength(recommendations).items()
        ]
        status = words.sentences[self.knowledge.status].format(version=self.knowledge.version)
        return (*strengths, status, words.sentences["judgement"])


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


def _links(knowledge: Knowledge, recommendation: Recommendation) -> Iterator[Link]:
    """The primary sources that a recommendation cites and that can be opened."""
    for tag in recommendation.evidence:
        source = knowledge.sources.get(tag.partition(":")[2])
        if source and source["kind"] == "primary" and source.get("url"):
            yield Link(label=source["citation"], url=source["url"], type="absolute")


def _filled(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members that have a value: whatever is empty is prohibited in a response (Use of JSON)."""
    return {name: value for name, value in members.items() if value or isinstance(value, int)}


def assessment_extension(
    knowledge: Knowledge, assessment: Assessment, on_chart: OnChart = NOTHING_ORDERED
) -> dict[str, Any]:
    """The assessment as an integrator tests it; the members are described in openapi.yaml."""
    flags: dict[str, dict[str, Any]] = {}
    for fired in assessment.red_flags():
        flag = fired.recommendation.red_flag
        if flag is None:
            continue
        entry = flags.setdefault(flag.id, {"id": flag.id, "indicator": fired.indicator, "findings": []})
        if fired.indicator == "critical":
            entry["indicator"] = "critical"
        entry["findings"] += [
            name for name in fired.findings() if name in knowledge.findings and name not in entry["findings"]
        ]
    assessed = {
        "knowledge": {"version": knowledge.version, "status": knowledge.status},
        "complaint": assessment.complaint,
        "side": assessment.side,
        "redFlags": list(flags.values()),
        "causes": _causes_extension(knowledge, assessment),
        "imaging": [
            {
                "modality": call.modality,
                "region": call.region,
                "priority": call.priority,
                "recommendation": call.recommendation,
                **({"alternative": call.alternative} if call.alternative else {}),
            }
            for call in assessment.imaging
        ],
        "referrals": [
            {"to": call.to, "priority": call.priority, "recommendation": call.recommendation}
            for call in assessment.referrals
        ],
        "treatment": [
            _filled(
                {
                    "id": call.id,
                    "state": call.state,
                    "because": list(call.because),
                    "without": list(call.without),
                    "cautions": list(call.cautions),
                }
            )
            for call in assessment.treatment
        ],
        "ask": [asked.finding for asked in assessment.ask],
        "data": assessment.data,
        "leftOut": {
            "otherPatient": assessment.left_out.other_patient,
            "outdated": assessment.left_out.outdated,
            "future": assessment.left_out.future,
            "unreadable": assessment.left_out.unreadable + on_chart.unreadable,
        },
        **({"notReadable": list(map(_not_readable, assessment.not_readable))} if assessment.not_readable else {}),
    }
    return _filled(assessed)


def _would_change(change: WouldChange) -> dict[str, Any]:
    by = {"removedBy": _answers(change.removed_by), "raisedBy": _answers(change.raised_by)}
    about = {"about": change.about} if change.about else {}
    # That no single answer does is said, and not left to be concluded.
    return {"topic": change.topic, **about, **(_filled(by) or {"noSingleAnswer": True})}


def _answers(answers: Sequence[tuple[str, Value]]) -> dict[str, Any]:
    """Findings by what they are answered to be."""
    return _filled(
        {
            "present": [name for name, value in answers if value is True],
            "absent": [name for name, value in answers if value is False],
            "numbers": [{"finding": name, "as": v.low} for name, v in answers if isinstance(v, Interval)],
        }
    )


def _not_readable(one: Assertion | Unrecognised) -> dict[str, str]:
    what = {"finding": one.finding} if isinstance(one, Assertion) else {"kind": one.kind}
    return {**what, "resource": one.resource, "reason": one.unreadable}


def _causes_extension(knowledge: Knowledge, assessment: Assessment) -> list[dict[str, Any]]:
    if assessment.complaint != "present":
        return []
    if not assessment.rankings:
        return [{"id": cause, "band": "not-assessed"} for cause in knowledge.causes]
    sided = len(assessment.rankings) > 1
    return [
        _filled(
            {
                "id": cause.id,
                "side": cause.side if sided else "",
                "band": cause.band,
                "points": cause.points,
                "for": list(cause.speaks_for),
                "against": list(cause.speaks_against),
            }
        )
        for ranking in assessment.rankings
        for cause in ranking.causes
    ]


class _Cards:
    """The cards of one answer."""

    def __init__(
        self,
        responder: Responder,
        assessment: Assessment,
        request: HookRequest,
        now: datetime,
        on_chart: OnChart = NOTHING_ORDERED,
    ) -> None:
        self.responder, self.assessment, self.request, self.now = responder, assessment, request, now
        self.on_chart = on_chart
        self.silenced: list[dict[str, Any]] = []
        self.knowledge = responder.knowledge
        self.words = self.knowledge.wording
        self.diagnostic_topic = self.first_topic = ""

    @cached_property
    def matching(self) -> OrderMatching:
        # Most answers have no card.
        return OrderMatching(self.knowledge, self.assessment, self.on_chart, self.now)

    @cached_property
    def _findings_not_readable(self) -> list[Assertion]:
        return [one for one in self.assessment.not_readable if isinstance(one, Assertion)]

    def in_order(self) -> Iterator[AdvisedCard]:
        tiers: dict[str, list[Fired]] = {}
        for fired in self.assessment.fired:
            topic = self.responder.topic_of_tier.get(fired.indicator, fired.recommendation.topic)
            tiers.setdefault(topic, []).append(fired)
        topics = self.responder.topics
        if topics["critical"] in tiers:
            # Self-care and treatment wait for the evaluation.
            tiers.pop(topics["treatment"], None)
        # The causes stand on the card about diagnosis; where red flags left none, on the most urgent one.
        self.diagnostic_topic = next(
            (
                topic
                for topic in (topics["diagnosis"], *self.responder.topic_of_tier.values())
                if topic in tiers and self.assessment.rankings
            ),
            "",
        )
        self.first_topic = next((topic for topic in self.words.topics if topic in tiers), "")
        for topic in self.words.topics:
            if topic in tiers:
                yield from self._chart_card(topic, tiers[topic])

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
                detail=f"**{self.words.headings['unreadable']}**\n\n- " + "\n- ".join(self._not_readable(unread)),
                override_reasons=self.responder.override_reasons,
            )
            yield AdvisedCard(card)

    def _not_readable(self, unread: Iterable[Assertion]) -> Iterator[str]:
        for one in unread:
            date, title = self.responder.date_of(one), self.knowledge.title_of(one.finding)
            yield self._say("recorded_not_readable", finding=title, date=date, resource=one.resource)

    def advice_card(self, advice: Advice) -> AdvisedCard:
        uuid = self._uuid(advice.topic, advice.about)
        standing = self._standing(advice.fired)
        placed = {
            change.name: order
            for change in advice.changes
            if change.order and (order := self._placed_as(change.order, standing))
        }
        ordered = (self._order_note("already_ordered", order.key, order) for order in placed.values())
        suggestions = tuple(
            Suggestion(
                label=change.label,
                uuid=self._uuid(uuid, change.name),
                is_recommended=True if change.recommended else None,
                actions=change.actions,
            )
            for change in advice.changes
            if change.name not in placed
        )
        one_of: _Selection = "at-most-one" if len(suggestions) > 1 and not advice.several else "any"
        return self._card(advice.topic, advice.fired, uuid, suggestions, one_of, notes=(*advice.notes, *ordered))

    def _chart_card(self, topic: str, fired: Sequence[Fired]) -> Iterator[AdvisedCard]:
        """The card of a topic; none where every order that it would suggest has been placed."""
        uuid, calls = self._uuid(topic), self._calls(fired)
        standing = self._standing(fired)
        # The orders that stand for each suggestion; none where it has to be made.
        placed = {call.key: self.matching.satisfying(call, standing) if standing else () for call in calls}
        if calls and all(placed.values()):
            references = dict.fromkeys(order.reference for orders in placed.values() for order in orders)
            self.silenced.append({"topic": topic, "orders": list(references)})
            return
        done = {call.key: order for call in calls if (order := self._done(call))}
        left = [
            call
            for call in calls
            if not placed[call.key] and (call.key not in done or self.matching.changed_since(done[call.key]))
        ]
        notes = tuple(self._order_note("already_done", key, order) for key, order in done.items())
        yield self._card(topic, fired, uuid, tuple(self._suggestions(uuid, fired, left)), "any", notes=notes)

    def _order_note(self, sentence: str, key: str, order: Order) -> str:
        """What was ordered or done, which need not be what is called for but answers it."""
        template = self.knowledge.orders.get(order.key) or self.knowledge.orders[key]
        date = order.when.text if order.when else ""
        return self._say(sentence, title=template.title, date=date, resource=order.reference)

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
        notes: Sequence[str],
    ) -> AdvisedCard:
        evidence, lacking = self._evidence(fired), self._not_documented(topic, fired)
        card = Card(
            uuid=uuid,
            summary=self._summary(topic, fired),
            indicator=Indicator(fired[0].indicator),
            detail=self._detail(topic, fired, notes, evidence, lacking),
            source=self.responder.sources[topic],
            suggestions=suggestions,
            selection_behavior=selection if suggestions else None,
            override_reasons=self.responder.override_reasons,
            links=self._cited(fired),
            extension={BASIS_KEY: self._basis(fired, evidence, lacking)},
        )
        return AdvisedCard(card, tuple(fired))

    def _uuid(self, *parts: str) -> str:
        return self.responder.ids.of(self.request.hook_instance, self.request.patient_id, self.knowledge.id, *parts)

    def _say(self, sentence: str, **values: object) -> str:
        return self.responder.say(sentence, **values)

    def _topics(self, *roles: str) -> tuple[str, ...]:
        return tuple(self.responder.topics[role] for role in roles)

    # -- text ---------------------------------------------------------------------------------------------------------

    def _summary(self, topic: str, fired: Sequence[Fired]) -> str:
        summary = fired[0].recommendation.summary
        if topic in self.responder.topic_of_tier.values():
            more = len({_subject(item) for item in fired if item.recommendation.kind != "treatment"}) - 1
            fuller = self._say("more", summary=summary, count=more) if more else summary
        else:
            leading = next((r for r in self.assessment.rankings if r.leader), None)
            if leading is None or leading.leader is None or topic != self.responder.topics["diagnosis"]:
                return summary
            first, other = in_a_sentence(self.knowledge.causes[leading.leader.id].title), self._second(leading)
            if other and not leading.clear:
                first = self._say("either", first=first, other=other)
            fuller = self._say("consider_first", first=first, summary=summary)
        return fuller if len(fuller) <= _SUMMARY else summary

    def _detail(
        self,
        topic: str,
        fired: Sequence[Fired],
        notes: Sequence[str],
        evidence: Sequence[Evidence],
        lacking: Sequence[str],
    ) -> str:
        headings = self.words.headings
        sections = [(headings["consider"], [line for item in fired for line in item.recommendation.do])]
        sections.append((headings["why"], [*notes, *(self._evidence_line(item) for item in evidence)]))
        if topic == self.diagnostic_topic:
            sections.append((headings["causes"], list(self._causes())))
        if topic in (self.diagnostic_topic, *self._topics("questions", "imaging-order")):
            sections.append((headings["ask"], [self._ask(asked) for asked in self.assessment.ask]))
        unknown = [self.knowledge.title_of(name) for name in lacking]
        sections.append((headings["not_documented"], ["; ".join(unknown)] if unknown else []))
        sections.append((headings["unreadable"], list(self._problems(topic))))
        sections.append((headings["safety_net"], [self.words.sentences["safety_net"]]))
        sections.append(
            (headings["grounds"], list(self.responder.evidence_lines(tuple(item.recommendation.id for item in fired))))
        )
        return "\n\n".join(
            [f"**{heading}**\n\n- " + "\n- ".join(dict.fromkeys(lines)) for heading, lines in sections if lines]
        )

    def _evidence(self, fired: Sequence[Fired]) -> list[Evidence]:
        """Every finding that the recommendations of a card used, once for each side and state.

        A recommendation may stand on what is not documented; then the card shows what makes this the complaint.
        """
        seen = {(item.finding, item.side, item.state): item for fire in fired for item in fire.evidence}
        return list(seen.values()) or list(self.assessment.located_by)

    def _ask(self, asked: Asked) -> str:
        because = asked.because
        if asked.changes:
            words = (self.knowledge.question_terms[term].words for term in asked.changes)
            because = self._say("can_change", because=because, changes=", ".join(words))
        return self._say("ask", ask=asked.ask, because=because)

    def _evidence_line(self, item: Evidence) -> str:
        details = [item.state]
        if item.side:
            details.append(self.words.sides[item.side])
        if item.resource and item.resource != "Patient":
            details.append(item.date or self.words.sentences["undated"])
            details.append(item.resource)
        details += [self.words.sentences[remark] for remark in item.remarks]
        return self._say("evidence", finding=self.knowledge.title_of(item.finding), details=", ".join(details))

    def _causes(self) -> Iterator[str]:
        if self.assessment.ranking_waits:
            yield self.words.sentences["ranking_waits"]
        for ranking in self.assessment.rankings:
            prefix = f"{self.words.sides[ranking.side].capitalize()}: " if len(self.assessment.rankings) > 1 else ""
            yield prefix + self._lead(ranking)
            for cause in ranking.causes:
                if cause.band in ("leads", "possible"):
                    parts = []
                    if cause.speaks_for:
                        parts.append(self._say("for_it", findings=self._titles(cause.speaks_for)))
                    if cause.speaks_against:
                        parts.append(self._say("against_it", findings=self._titles(cause.speaks_against)))
                    known = self.knowledge.causes[cause.id]
                    yield f"{prefix}{known.title} ({known.tell_apart}); " + "; ".join(parts)
            if ranking.families_known:
                yield prefix + self._say("completeness", known=ranking.families_known, families=ranking.families)
            else:
                yield prefix + self.words.sentences["nothing_examined"]
        diagnoses = self.assessment.working_diagnoses
        if diagnoses:
            names = ", ".join(in_a_sentence(self.knowledge.causes[cause].title) for cause in diagnoses)
            yield self._say("working_diagnosis", causes=names)

    def _lead(self, ranking: Ranking) -> str:
        leader = ranking.leader
        if leader is None:
            return self.words.sentences["not_separated"]
        title, other = self.knowledge.causes[leader.id].title, self._second(ranking)
        if other and not ranking.clear:
            return self._say("leads", first=title, other=other)
        sentence = "leads_alone" if not ranking.clear else "leads_clearly_beside" if other else "leads_clearly"
        return self._say(sentence, first=in_a_sentence(title), other=other)

    def _second(self, ranking: Ranking) -> str:
        """The cause after the leading one that is possible too: section 5.3 of the evidence, item 6."""
        others = (c.id for c in ranking.causes if c is not ranking.leader and c.band == "possible")
        return next((in_a_sentence(self.knowledge.causes[other].title) for other in others), "")

    def _titles(self, findings: Iterable[str]) -> str:
        return ", ".join(in_a_sentence(self.knowledge.title_of(name)) for name in findings)

    def _problems(self, topic: str) -> Iterator[str]:
        if self.assessment.lacking:
            yield from self._missing_data(topic)
        if topic in self._topics(*_NAME_MEDICINES) and (case := self.assessment.case) and self.assessment.decision:
            offered = self.assessment.offered()
            unread = self.responder.unread_values
            yield from self.responder.unread(unread.of(case)) if offered & unread.treatments else ()
            yield from self.responder.unrecognised(case.unrecognised) if offered & self.responder.medicines else ()
        if topic == self.first_topic:
            yield from self._not_readable(self._findings_not_readable[:UNKNOWN_AT_MOST])
        if topic == self.first_topic and self.assessment.side == NO_SIDE_NAMED:
            yield self.words.sentences["no_side"]
        for name in self.assessment.contradictory:
            yield self._say("contradictory", finding=self.knowledge.title_of(name))
        for name in self.assessment.without_side:
            yield self._say("side_unclear", finding=self.knowledge.title_of(name))
        if self.assessment.left_out.other_patient:
            yield self._say("other_patient", count=self.assessment.left_out.other_patient)

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
                    yield self._say(f"{about}_{how}", data=", ".join([*names[:1], *map(in_a_sentence, names[1:])]))

    def _not_documented(self, topic: str, fired: Sequence[Fired]) -> list[str]:
        unknown = [asked.finding for asked in self.assessment.ask]
        unknown += [name for item in fired for name in item.unknown]
        if topic == self.diagnostic_topic:
            unknown = [*unknown[:_ASKED_AND_READ], *self._deciding_tests(), *unknown[_ASKED_AND_READ:]]
        # What is recorded and cannot be read is documented.
        recorded = {one.finding for one in self._findings_not_readable}
        return [name for name in dict.fromkeys(unknown) if name not in recorded][:UNKNOWN_AT_MOST]

    def _deciding_tests(self) -> list[str]:
        """The tests that speak for or against the leading cause and were not done."""
        leaders = {ranking.leader.id for ranking in self.assessment.rankings if ranking.leader}
        tests = [test.finding for test in self.knowledge.differential.tests if test.cause in leaders]
        return [name for name in tests if name in self.knowledge.findings and name not in self.assessment.known]

    def _cited(self, fired: Sequence[Fired]) -> tuple[Link, ...]:
        links = dict.fromkeys(link for item in fired for link in self.responder.links[item.recommendation.id])
        return tuple(links)[:_LINKS_AT_MOST]

    # -- what can be acted on, and what it stands on ------------------------------------------------------------------

    def _calls(self, fired: Sequence[Fired]) -> list[Call]:
        """The orders that a card would suggest."""
        ids = {item.recommendation.id for item in fired}
        calls: tuple[Call, ...] = (*self.assessment.imaging, *self.assessment.referrals)
        return [call for call in calls if call.recommendation in ids and call.key in self.knowledge.orders]

    def _suggestions(self, card: str, fired: Sequence[Fired], calls: Iterable[Call]) -> Iterator[Suggestion]:
        by_id = {item.recommendation.id: item for item in fired}
        for number, call in enumerate(calls):
            request = service_request(
                self.knowledge.orders[call.key],
                call.priority,
                self._ordering(by_id[call.recommendation], self.matching.side_of(call)),
                self.words.sides,
            )
            title = request["code"]["text"]
            yield Suggestion(
                label=self._say("order_label", title=title),
                uuid=self._uuid(card, call.key),
                is_recommended=True if number == 0 else None,
                actions=(Action(type="create", description=title, resource=request),),
            )

    def _ordering(self, fired: Fired, side: str) -> Ordering:
        resources = (item.resource for item in fired.evidence)
        return Ordering.of(self.request, side, self.now, fired.recommendation.title, resources)

    def _basis(self, fired: Sequence[Fired], evidence: Sequence[Evidence], lacking: Sequence[str]) -> dict[str, Any]:
        basis = {
            "knowledge": {"version": self.knowledge.version, "status": self.knowledge.status},
            "recommendations": [
                {
                    **self.responder.as_written[item.recommendation.id],
                    "indicator": item.indicator,
                    **({"findings": list(item.findings())} if item.evidence else {}),
                }
                for item in fired
            ],
            "findings": [_evidence_extension(item) for item in evidence],
            "notDocumented": list(lacking),
        }
        return _filled(basis)


def _as_written(recommendation: Recommendation) -> dict[str, Any]:
    return _filled(
        {
            "id": recommendation.id,
            "version": recommendation.version,
            "strength": recommendation.strength,
            "status": recommendation.status,
            "statements": list(recommendation.statements),
            "evidence": list(recommendation.evidence),
        }
    )


def _evidence_extension(item: Evidence) -> Mapping[str, Any]:
    where = {"side": item.side, "date": item.date, "resource": item.resource}
    entry: dict[str, Any] = {
        "id": item.finding,
        "state": item.state,
        **{key: value for key, value in where.items() if value},
    }
    return {**entry, **dict.fromkeys(item.remarks, True)}


def _subject(fired: Fired) -> str:
    """What a reader counts: two recommendations about one red flag are one."""
    flag = fired.recommendation.red_flag
    return flag.id if flag else fired.recommendation.id


def _by_strength(recommendations: Sequence[Recommendation]) -> dict[str, list[Recommendation]]:
    groups: dict[str, list[Recommendation]] = {}
    for recommendation in recommendations:
        groups.setdefault(recommendation.strength, []).append(recommendation)
    return groups


def _tags(recommendations: Sequence[Recommendation]) -> dict[str, None]:
    """The evidence behind the recommendations, without the statements that are listed on their own."""
    return dict.fromkeys(tag for r in recommendations for tag in r.evidence if tag not in r.statements)
