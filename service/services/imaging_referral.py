"""The CDS service that judges draft imaging orders of hip, pelvis, thigh, lumbar spine and sacroiliac joint.

Each selected draft is rated by the presentations of ratings.toml that hold for the chart, the best of them counting,
and against what the guideline itself calls for. A draft that is appropriate gets no card.
Specification: CDS Hooks Library, order-select and order-sign; Argonaut CDS Hooks for PAMA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cds_hooks import Action, HookRequest, SystemAction
from service.answers.answered import Answered, Judgement
from service.answers.answering import Answering, Call, Held
from service.answers.cards import Advice, Change
from service.answers.orders import Ordering, question_task, service_request
from service.chart.drafts import Draft, InHand, as_written
from service.chart.elements import LEFT, RIGHT, as_list
from service.chart.fhir_time import days_before
from service.chart.orders import OnChart, Order
from service.guideline.conditions import Interval, Value
from service.guideline.vocabulary import INDICATORS, RATINGS
from service.prefetch_keys import ON_CHART
from service.pseudonyms import CardIds
from service.reasoning.assessment import ImagingCall
from service.reasoning.evidence import Fired
from service.services.consultation import Consultant, Consultation, chart_of, in_context

_KIND = "imaging-order"
_APPROPRIATE, _MAY_BE, _USUALLY_NOT = RATINGS
_CANNOT_TELL = "cannot-tell"
_RADIOGRAPH, _MRI, _CT = "radiograph", "mri", "ct"
_IONISING = frozenset({_RADIOGRAPH, _CT})
_WORK_UP = "red-flags"
_CRITICAL, _WARNING = INDICATORS[:2]
# Why a draft cannot be rated where another finding might tell.
_WANTS_A_FINDING = frozenset({"not-rated", "not-enough-documented", "red-flag-unanswered"})
_PAMA = "http://fhir.org/argonaut/Extension/pama-rating"
_PAMA_CONSULT = f"{_PAMA}-consult-id"
_PAMA_SYSTEM = "http://fhir.org/argonaut/CodeSystem/pama-rating"
_PAMA_CODES = {_APPROPRIATE: "appropriate", _MAY_BE: "appropriate", _USUALLY_NOT: "not-appropriate"}
_RATING_SYSTEM = "https://sitbone.example.org/fhir/CodeSystem/imaging-ratings"
# What the programme behind that annotation is about; radiographs and ultrasound are not.
_ADVANCED = frozenset({_MRI, _CT})


@dataclass(frozen=True, slots=True)
class _Drafted:
    """A draft ServiceRequest with what it is an order of."""

    draft: Draft
    order: Order

    @property
    def recognised(self) -> bool:
        return bool(self.order.modality or self.order.referral)


@dataclass(frozen=True, slots=True)
class _Rated:
    """What is held of one draft. `by` is the presentation behind the rating, `because` a word for the reason, `side`
    the side that it ought to have.
    """

    drafted: _Drafted
    rating: str
    because: str
    side: str = ""
    by: Held | None = None
    # The best of the published criteria that hold, which need not be the one that counts.
    published: Held | None = None
    radiograph_first: ImagingCall | None = None
    other_side: bool = False
    placed: Order | None = None
    done: Order | None = None

    @property
    def order(self) -> Order:
        return self.drafted.order


class ImagingReferral:
    """Answers order-select and order-sign; made once. `annotates`: whose orders get the PAMA annotation, by client."""

    def __init__(self, consultant: Consultant, annotates: Callable[[str | None], bool]) -> None:
        self._consultant, self._annotates = consultant, annotates
        self._recent_days = consultant.responder.recent_days
        roles = consultant.guideline.engine.imaging
        self._judged_regions = roles.regions_of_complaint | roles.other_regions

    def needs_chart(self, request: HookRequest) -> bool:
        """Whether any selected draft may be imaging of this complaint, or an order that a red flag calls for."""
        return any(map(self._is_concerned, self._drafted(in_context(request, "draftOrders"))))

    def _drafted(self, hand: InHand) -> list[_Drafted]:
        order = self._consultant.orders.order
        drafts = (draft for draft in hand.drafts if draft.kind == "ServiceRequest")
        return [_Drafted(draft, order(draft.resource, draft.reference)) for draft in drafts]

    def _is_concerned(self, one: _Drafted) -> bool:
        if not one.draft.selected:
            return False
        if one.order.referral or one.order.region:
            return True
        return not (one.order.elsewhere or self._consultant.orders.is_unrelated(one.draft.resource))

    def _is_judged(self, order: Order) -> bool:
        """Imaging of the regions of this complaint, or imaging of which nothing tells that it is of another."""
        return bool(order.modality) and (order.region in self._judged_regions or not (order.region or order.elsewhere))

    def answer(self, request: HookRequest) -> Answered:
        """A card for each selected draft that something is to be said about; the rating of each in the extension."""
        hand = in_context(request, "draftOrders")
        reader, drafted = self._consultant.orders, self._drafted(hand)
        if not any(map(self._is_concerned, drafted)):
            return self._consultant.say_nothing(request, _judged(hand, (), drafted))
        consultation = self._consultant.consult(request)
        rated: list[_Rated] = []
        advice: list[Advice] = []
        judgements: list[Judgement] = []
        # What cannot be recognised may be anything; a red flag calls for its orders all the same.
        if any(one.draft.selected for one in drafted):
            judging = _Judging(consultation, drafted, reader.read(chart_of(request)), self._recent_days)
            rated = [judging.rate(one) for one in drafted if one.draft.selected and self._is_judged(one.order)]
            advice, judgements = list(judging.advice(rated)), judging.judgements
            if not rated:
                # Nothing would say that a red flag may stand in what did not arrive.
                consultation.require_chart()
        annotates = request.hook == "order-sign" and self._annotates(request.client)
        return consultation.advise(
            sorted(advice, key=lambda one: INDICATORS.index(one.fired[0].indicator)),
            judgements,
            judged=_judged(hand, rated, drafted),
            system_actions=tuple(_annotations(request, rated, self._consultant.responder.ids)) if annotates else (),
        )


def _judged(hand: InHand, rated: Iterable[_Rated], drafted: Iterable[_Drafted]) -> dict[str, Any]:
    return {
        "orders": [_entry(one) for one in rated],
        "draftsLeftOut": hand.left_out(),
        "notRecognised": sum(not one.recognised for one in drafted),
    }


class _Judging:
    """The judgement of the drafts of one call."""

    def __init__(self, consultation: Consultation, drafted: Sequence[_Drafted], on_chart: OnChart, days: int) -> None:
        self.drafted, self.on_chart, self.days = drafted, on_chart, days
        self.assessment, self.now = consultation.assessment, consultation.now
        self.answering = Answering(
            consultation.consultant.guideline, consultation.assessment, on_chart, consultation.now, days
        )
        self.complaint = consultation.assessment.complaint
        # Where the chart could not be heard nothing holds, and that is what is said.
        self.consultation = consultation if self.complaint == "present" else consultation.screened(frozenset())
        self.guideline = consultation.consultant.guideline
        self.words, self.roles = self.guideline.wording, self.guideline.engine.imaging
        self.topic = self.guideline.engine.topics[_KIND]
        self.imaging = self.answering.imaging
        self.judgements: list[Judgement] = []
        self.unanswered = consultation.consultant.assessor.unanswered_flags(consultation.assessment)
        # Beside a red flag, raised or unanswered, or a recent injury, and of a child, nothing is only taken away.
        self.child = bool(self.roles.child) and self.assessment.holds(self.roles.child)
        recent = bool(self.roles.recent_injury) and self.assessment.holds(self.roles.recent_injury)
        self.guarded = self.child or recent or any(self.assessment.red_flags()) or bool(self.unanswered)

    # -- rating -------------------------------------------------------------------------------------------------------

    def rate(self, one: _Drafted) -> _Rated:
        """The rating of a draft, with its reason."""
        if self.complaint != "present":
            return _Rated(one, _CANNOT_TELL, "no-complaint" if self.complaint == "absent" else "chart-not-heard")
        if not one.order.region:
            return _Rated(one, _CANNOT_TELL, "region-not-known")
        order = one.order
        beside = list(self._beside(one))
        rating, because, mine, first = self._rating(order, beside)
        if rating == _USUALLY_NOT and self.child and not first:
            # The criteria are those of adults.
            rating, because, mine = _CANNOT_TELL, "child", ()
        elif rating == _USUALLY_NOT and not first and self._may_be_called_for(order, beside):
            rating, because, mine = _CANNOT_TELL, "red-flag-unanswered", ()
        meant = self.answering.side_for(order, beside)
        # An order without a side is for the side of the pain.
        side = order.side or self.answering.compared(order.key, meant)
        done = self.on_chart.recently_done(order.key, side, self.now, self.days)
        done = done or self._shown(order, side)
        if done and self.answering.changed_since(done):
            done = None
        return _Rated(
            one,
            rating,
            because,
            meant,
            _best(mine),
            _best(by for by in mine if by[0].publisher),
            # Nothing comes before what has been done.
            None if done else first,
            other_side={order.side, meant} == {LEFT, RIGHT} and not order.sides_differ,
            placed=self._ordered(one, side),
            done=done,
        )

    def _rating(self, order: Order, beside: Sequence[Order]) -> tuple[str, str, Sequence[Held], ImagingCall | None]:
        """The rating, a word for its reason, the presentations that rate it, and the radiograph that comes first."""
        has_radiograph = self.answering.has_radiograph(beside, order.side) or order.modality == _RADIOGRAPH
        first = None if has_radiograph else self._radiograph_before(order)
        held = self.answering.held(beside, order.side, of_late=order.modality == _RADIOGRAPH)
        mine = [by for by in held if by[1].modality == order.modality and order.region in by[1].regions]
        best = _best(mine)
        called = any(
            order.region == call.region and order.modality in (call.modality, call.alternative) for call in self.imaging
        )
        if called and not (first and best and best[1].rating == _USUALLY_NOT):
            return _APPROPRIATE, "called-for", mine, first
        if best:
            return best[1].rating, "rated", mine, first
        regions = {region for by in held for region in by[1].regions} | {call.region for call in self.imaging}
        if regions and order.region not in regions:
            return _USUALLY_NOT, "another-region", (), None
        return _CANNOT_TELL, "not-rated" if regions else "not-enough-documented", (), first

    def _may_be_called_for(self, order: Order, beside: Sequence[Order]) -> bool:
        """Whether a red flag that is unanswered would call for this imaging, or make it more than usually not
        appropriate.
        """
        for recommendation in self.unanswered:
            if any(
                order.region == call.region and order.modality in (call.modality, call.alternative)
                for call in recommendation.imaging
            ):
                return True
            flag = recommendation.red_flag.id if recommendation.red_flag else ""
            held = self.answering.held(beside, order.side, of_late=order.modality == _RADIOGRAPH, supposed=flag)
            best = _best(by for by in held if by[1].modality == order.modality and order.region in by[1].regions)
            if best and best[1].rating != _USUALLY_NOT:
                return True
        return False

    def _radiograph_before(self, order: Order) -> ImagingCall | None:
        """The radiograph that the guideline calls for before other imaging of where the pain is, or of the same
        region, on that side.
        """
        for call in self.imaging:
            near = call.region == order.region or {call.region, order.region} <= self.roles.regions_of_complaint
            if call.modality == _RADIOGRAPH and near and {order.side, self.answering.side_of(call)} != {LEFT, RIGHT}:
                return call
        return None

    def _beside(self, one: _Drafted | None) -> Iterator[Order]:
        """What else is drafted, ordered or was done lately; a draft that is not selected counts as ordered."""
        yield from (other.order for other in self.drafted if other is not one)
        named = {other.order.reference for other in self.drafted}
        yield from (order for order in self.on_chart.placed if order.reference not in named and order.state == "active")
        yield from self.answering.done

    def _shown(self, order: Order, side: str) -> Order | None:
        """The imaging behind a result that the chart has as a finding, where this would repeat it too soon."""
        stated = self.consultation.case.assertions
        found = [
            Order(statement.resource, "done", order.modality, order.region, side=statement.side, when=statement.when)
            for shown in self.roles.shown_by
            if order.modality in shown.modalities and order.region in shown.regions
            for statement in stated.get(shown.finding, ())
            if statement.value is True and statement.when
        ]
        return OnChart(done=tuple(found)).recently_done(order.key, side, self.now, self.days)

    def _ordered(self, one: _Drafted, side: str) -> Order | None:
        """Another order of the same imaging: one that stands, or a draft that was decided on before or comes before."""
        placed = [o for o in self.on_chart.placed if o.state == "active" and o.reference != one.order.reference]
        place = next(number for number, other in enumerate(self.drafted) if other is one)
        placed += [other.order for other in self.drafted[:place]]
        placed += [other.order for other in self.drafted[place + 1 :] if not other.draft.selected]
        return next((order for order in placed if order.covers(one.order.key, side)), None)

    # -- advice -------------------------------------------------------------------------------------------------------

    def advice(self, rated: Sequence[_Rated]) -> Iterator[Advice]:
        """What is to be said about the drafts, and what a red flag calls for beside them."""
        if self.complaint == "absent":
            return
        judged = [(one, fired) for one in rated if (fired := self._fired(one))]
        critical = frozenset(fired.recommendation.id for fired in self._flags(_CRITICAL))
        missing = self._missing(critical)
        # Whoever takes all that is suggested has each order once: an order stands on the card of the draft in whose
        # place it is put, otherwise on the most urgent one.
        proposed: list[Order] = []
        instead: list[tuple[ImagingCall, str] | None] = []
        for one, fired in judged:
            call = self._instead(one, fired[0], proposed)
            instead.append(call)
            proposed += self._as_orders([call[0]], call[1]) if call else ()
        added = [call for call in missing if not self.answering.answer(call, proposed, among=critical)]
        proposed += self._as_orders(added, among=critical)
        for (one, fired), call in zip(judged, instead, strict=True):
            first = one.radiograph_first
            new = first if first and not self.answering.answer(first, proposed) else None
            proposed += self._as_orders([new] if new else [])
            notes = (*self._notes(one), *self._elsewhere([first] if first and not new else []))
            yield Advice(self.topic, one.order.reference, fired, tuple(self._changes(one, fired, call, new)), notes)
        if missing and (fired := self._judge(self._facts(None, missing=_CRITICAL))):
            notes = (*self._not_recognised(), *self._elsewhere([call for call in missing if call not in added]))
            changes = tuple(self._additions(added, fired[0], critical))
            yield Advice(self.topic, _WORK_UP, (*fired, *self._flags(_CRITICAL)), changes, notes, several=True)
        warned = frozenset(fired.recommendation.id for fired in self._flags(_WARNING))
        besides = dict.fromkeys(self._due_besides(rated))
        due = [call for call in besides if not self.answering.answer(call, proposed, among=warned)]
        if due and (fired := self._judge(self._facts(None, missing=_WARNING))):
            changes = tuple(self._additions(due, fired[0], warned))
            behind = frozenset[str]().union(*map(self.assessment.called_by, due))
            flags = (flag for flag in self._flags(_WARNING) if flag.recommendation.id in behind)
            yield Advice(self.topic, _WORK_UP, (*fired, *flags), changes, tuple(self._not_recognised()), several=True)

    def _fired(self, one: _Rated) -> tuple[Fired, ...]:
        """What is said of a draft; where nothing is, that what is ordered and done could not be looked at."""
        facts = self._facts(one)
        fired = self._judge(facts)
        if not fired and self.consultation.case.lacks(ON_CHART):
            fired = self._judge({**facts, "chart-not-heard": True})
        return fired

    def _judge(self, facts: Mapping[str, Value]) -> tuple[Fired, ...]:
        judgement = self.consultation.judge(_KIND, facts)
        self.judgements.append(judgement)
        return judgement.fired

    def _facts(self, one: _Rated | None, *, missing: str = "") -> dict[str, Value]:
        return {
            "order-rating": one.rating if one else None,
            "days-since-the-same-imaging": self._days_since(one.done if one else None),
            "order-repeats-another-order": bool(one and one.placed),
            "order-is-for-the-other-side": bool(one and one.other_side),
            "order-names-two-sides": bool(one and one.order.sides_differ),
            "order-is-of-another-region": bool(one and one.because == "another-region"),
            "radiograph-comes-first": bool(one and one.radiograph_first),
            "red-flag-work-up-missing": missing == _CRITICAL,
            "urgent-imaging-missing": missing == _WARNING,
            "order-not-recognised": one is None and any(self._not_recognised()),
            "order-is-an-mri": bool(one and one.order.modality == _MRI),
            "order-is-ionising": bool(one and one.order.modality in _IONISING),
            "gadolinium-asked-for": bool(one and one.order.modality == _MRI and one.order.contrast),
            "chart-not-heard": self.complaint == "unknown",
        }

    def _days_since(self, done: Order | None) -> Interval | None:
        if done is None or done.when is None:
            return None
        least, most = days_before(done.when, self.now)
        return Interval(float(least), float(most))

    def _notes(self, one: _Rated) -> Iterator[str]:
        title = self._title(one.order)
        if one.by:
            yield self._say_rating(title, one.by)
        elif one.because == "another-region":
            yield self.words.sentences["another_region"].format(title=title)
        shown = one.done is not None and one.done not in self.on_chart.done
        for sentence, order in (
            ("already_ordered", one.placed),
            ("already_shown" if shown else "already_done", one.done),
        ):
            if order:
                date = order.when.text if order.when else self.words.sentences["undated"]
                yield self.words.sentences[sentence].format(title=title, date=date, resource=order.reference)

    def _elsewhere(self, calls: Iterable[Call]) -> Iterator[str]:
        for call in calls:
            title = self.guideline.orders[call.key].title
            yield self.words.sentences["proposed_elsewhere"].format(title=title)

    def _not_recognised(self) -> Iterator[str]:
        if count := sum(not one.recognised for one in self.drafted):
            yield self.words.sentences["not_recognised"].format(count=count)

    def _say_rating(self, title: str, by: Held) -> str:
        presentation, rating = by
        sentences = self.words.sentences
        source = [
            sentences["criteria"].format(
                publisher=presentation.publisher, topic=presentation.topic, year=presentation.year
            )
            if presentation.publisher
            else sentences["own_judgement"]
        ]
        if rating.score is not None:
            source.append(sentences["score"].format(score=rating.score))
        if rating.radiation is not None:
            source.append(sentences["radiation"].format(level=rating.radiation))
        return sentences["rated"].format(
            title=title,
            rating=self.guideline.rating_words[rating.rating],
            presentation=presentation.presentation,
            source=", ".join(source),
            evidence="; ".join(presentation.evidence),
        )

    def _title(self, order: Order) -> str:
        template = self.guideline.orders.get(order.key)
        return template.title if template else self.words.topics[self.topic].display

    # -- suggestions --------------------------------------------------------------------------------------------------

    def _can_change(self, one: _Rated) -> bool:
        return self.complaint == "present" and one.rating != _CANNOT_TELL

    def _can_go(self, one: _Rated) -> bool:
        """Whether the draft may be taken away: not where it only waits for the radiograph."""
        return self._can_change(one) and not one.radiograph_first and one.drafted.draft.can_be_named

    def _changes(
        self, one: _Rated, fired: Sequence[Fired], instead: tuple[ImagingCall, str] | None, first: ImagingCall | None
    ) -> Iterator[Change]:
        """What the clinician may do at once: order what comes first, put `instead` in its place, take it away, or ask
        what would tell. Whoever keeps it overrides the card, with a reason."""
        sentences = self.words.sentences
        if first:
            request = self._request(first, fired[0], self.answering.side_of(first))
            yield self._addition(first.key, request, recommended=True)
        remove = sentences["remove_label"]
        delete = Action("delete", remove, resource_id=one.order.reference) if self._can_go(one) else None
        if delete and instead:
            request = self._request(instead[0], fired[0], instead[1])
            title = request["code"]["text"]
            label = sentences["replace_label"].format(title=title)
            yield Change("replace", label, (Action("create", title, resource=request), delete), recommended=True)
        elif delete and not self.guarded and (one.placed or one.done or one.other_side or one.rating == _USUALLY_NOT):
            yield Change("remove", remove, (delete,), recommended=True)
        # Where the radiograph comes first, it is what tells.
        if one.because in _WANTS_A_FINDING and self.assessment.ask and not one.radiograph_first:
            question, reason = self.assessment.ask[0].ask, fired[0].recommendation.title
            ordering = Ordering.of(self.consultation.request, self.assessment.side, self.now, reason)
            label = sentences["question_label"].format(question=question)
            yield Change("ask", label, (Action("create", label, resource=question_task(question, ordering)),))

    def _instead(self, one: _Rated, fired: Fired, proposed: Sequence[Order]) -> tuple[ImagingCall, str] | None:
        """The order to put in place of this one, and its side; None where there is none to propose, or where it is
        already.
        """
        order = one.order
        if not self._can_go(one) or one.placed or one.done:
            return None
        beside = [*self._beside(one.drafted), *proposed]
        wrong_side = one.other_side or (order.sides_differ and one.side in (LEFT, RIGHT))
        if wrong_side and order.key in self.guideline.orders and one.rating != _USUALLY_NOT:
            side = self.answering.compared(order.key, one.side)
            if any(other.covers(order.key, side) for other in beside):
                return None
            return ImagingCall(order.modality, order.region, _priority(one), "", fired.recommendation.id), one.side
        if one.rating == _APPROPRIATE:
            return None
        call = next((call for call in self.imaging if not self.answering.answer(call, beside)), None)
        return (call, self.answering.side_of(call)) if call else None

    def _missing(self, critical: frozenset[str]) -> list[Call]:
        """The orders that a critical red flag calls for and that nobody has drafted or placed."""
        calls: list[Call] = [*self.imaging, *self.assessment.referrals]
        ordered = list(self._beside(None))
        return [
            call
            for call in calls
            if critical & self.assessment.called_by(call) and not self.answering.answer(call, ordered, among=critical)
        ]

    def _as_orders(
        self, calls: Iterable[Call], side: str = "", *, among: frozenset[str] | None = None
    ) -> Iterator[Order]:
        """What orders these would be; a referral is proposed by the work-up alone, and replaces nothing."""
        for call in calls:
            if isinstance(call, ImagingCall):
                meant = self.answering.compared(call.key, side or self.answering.side_of(call, among))
                yield Order("", "draft", call.modality, call.region, side=meant)

    def _due_besides(self, rated: Sequence[_Rated]) -> Iterator[ImagingCall]:
        """The imaging that a red flag short of critical calls for and that is not beside an imaging order of this
        pain. What comes after the radiograph that the same flag calls for is not due before that is done, unless the
        flag is due the same day.
        """
        if not rated or self._flags(_CRITICAL):
            return
        ordered = list(self._beside(None))
        for fired in self._flags(_WARNING):
            calls = [call for call in self.imaging if fired.recommendation.id in self.assessment.called_by(call)]
            at_once = self.consultation.days_allowed(fired) == 0 or self.answering.has_radiograph(())
            radiographs = [call for call in calls if call.modality == _RADIOGRAPH]
            for call in calls if at_once or not radiographs else radiographs:
                if not self.answering.answer(call, ordered, among=frozenset({fired.recommendation.id})):
                    yield call

    def _flags(self, indicator: str) -> tuple[Fired, ...]:
        return tuple(fired for fired in self.assessment.red_flags() if fired.indicator == indicator)

    def _additions(self, calls: Sequence[Call], fired: Fired, among: frozenset[str]) -> Iterator[Change]:
        for number, call in enumerate(calls):
            request = self._request(call, fired, self.answering.side_of(call, among))
            yield self._addition(call.key, request, recommended=number == 0)

    def _addition(self, key: str, request: dict[str, Any], *, recommended: bool) -> Change:
        title = request["code"]["text"]
        label = self.words.sentences["order_label"].format(title=title)
        return Change(f"add-{key}", label, (Action("create", title, resource=request),), recommended)

    def _request(self, call: Call, fired: Fired, side: str) -> dict[str, Any]:
        by_id = {one.recommendation.id: one for one in (*self.assessment.fired, fired)}
        behind = by_id[call.recommendation]
        resources = (item.resource for item in behind.evidence)
        ordering = Ordering.of(self.consultation.request, side, self.now, behind.recommendation.title, resources)
        return service_request(self.guideline.orders[call.key], call.priority, ordering, self.words.sides)


def _best(held: Iterable[Held]) -> Held | None:
    return min(held, key=lambda by: RATINGS.index(by[1].rating), default=None)


def _priority(one: _Rated) -> str:
    priority = one.drafted.draft.resource.get("priority")
    return priority if priority in ("stat", "urgent") else "routine"


def _entry(one: _Rated) -> dict[str, Any]:
    """A draft for the assessment in the extension."""
    order = one.order
    entry: dict[str, Any] = {
        "reference": order.reference,
        "modality": order.modality,
        **({"region": order.region} if order.region else {}),
        "side": "unspecified" if order.sides_differ else order.side or "unspecified",
        "rating": one.rating,
        "because": one.because,
    }
    if one.by:
        presentation, rating = one.by
        entry["variant"] = {
            "id": presentation.id,
            "topic": " ".join(filter(None, (presentation.publisher, presentation.topic))),
            "year": presentation.year,
            "rating": rating.rating,
            "evidence": list(presentation.evidence),
            "verified": presentation.verified,
            **({"score": rating.score} if rating.score is not None else {}),
            **({"radiation": rating.radiation} if rating.radiation is not None else {}),
        }
    return entry


def _annotations(request: HookRequest, orders: Sequence[_Rated], ids: CardIds) -> Iterator[SystemAction]:
    """Each order as it came, with its rating in the words of the Argonaut guide; what cannot be told has none.

    It stands on published criteria where any hold, whatever a judgement of this guideline makes of the order.
    """
    written = as_written(request.context.get("draftOrders")) if orders else {}
    for one in orders:
        if one.rating == _CANNOT_TELL or one.order.modality not in _ADVANCED or not one.drafted.draft.can_be_named:
            continue
        rated = one.published[1].rating if one.published else one.rating
        code = _PAMA_CODES[rated] if one.published else "no-criteria-apply"
        resource = written.get(one.drafted.draft.place, {})
        given = as_list(resource.get("extension"))
        kept = [it for it in given if not (isinstance(it, dict) and it.get("url") in (_PAMA, _PAMA_CONSULT))]
        consult = ids.of(request.hook_instance, request.patient_id, str(one.order.reference))
        rating = {"coding": [{"system": _PAMA_SYSTEM, "code": code}, {"system": _RATING_SYSTEM, "code": rated}]}
        added = [
            {"url": _PAMA, "valueCodeableConcept": rating},
            {"url": _PAMA_CONSULT, "valueUri": f"urn:uuid:{consult}"},
        ]
        try:
            yield SystemAction("update", {**resource, "extension": [*kept, *added]})
        except ValueError:
            # A draft with a null in it, or one nested too deeply, cannot be sent back as it came.
            continue
