"""What is muted is only ever taken away: check 9, over the fixtures and generated charts with each recommendation.

That the decision cannot see what is muted is held by the layers of pyproject.toml: reasoning/ is below release/, and
takes nothing of it. What is left to show is that the answer, which is made of that decision, adds nothing. A proof over
the conditions would show nothing: whatever they say, what others offer and nobody holds is among what anybody offers
and nobody holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import msgspec
import orjson
import pytest

from cds_hooks import CdsHooksError, HookRequest
from cds_hooks.request import read_envelope, request_for
from cds_hooks.response import render
from sameness.charts import Call, calls, generated_calls
from service.answers.answered import Answered
from service.answers.extension import BASIS_KEY
from service.knowledge_model.model import ORDER_SYSTEM, capital
from service.reasoning.evidence import Fired, reads_of
from service.release.muting import NOTHING, Muted
from service.service_ids import DIAGNOSIS, DIAGNOSIS_ENCOUNTER
from service.services.evaluation import Evaluation, Evaluator
from service.services.registry import services_by
from tests.charts import CLOCK, HOOKS, packaged

SINCE = datetime(2026, 11, 20, tzinfo=UTC)
GENERATED = 1000


class _ReadOnce(Evaluator):
    """Reads and assesses a request once, whatever is muted when it comes again."""

    _last: tuple[HookRequest, dict[str, Any], Evaluation] | None = None

    def evaluate(self, request: HookRequest, **how: Any) -> Evaluation:
        if self._last is None or self._last[0] is not request or self._last[1] != how:
            self._last = request, how, super().evaluate(request, **how)
        return msgspec.structs.replace(self._last[2], muted=self.muted(CLOCK))


class Service:
    """All services by the packaged knowledge; `muted` is what they do not say."""

    def __init__(self) -> None:
        self.muted = NOTHING
        evaluator = _ReadOnce(packaged(), lambda: CLOCK, muted=lambda _now: self.muted)
        self._services = services_by(evaluator, lambda _client: True)
        self._asked: tuple[Call, HookRequest] | None = None

    def answer(self, call: Call, muted: Muted = NOTHING) -> Answered:
        self.muted = muted
        service = self._services.find(call.service, HOOKS[call.service])
        if self._asked is None or self._asked[0] is not call:
            body = orjson.dumps({**call.request, "hook": service.hook})
            self._asked = call, request_for(read_envelope(body), service, correlation_id="test")
        return service.answer(self._asked[1])


@pytest.fixture(scope="module")
def service() -> Service:
    return Service()


def suspended(*ids: str) -> Muted:
    return Muted(suspended=dict.fromkeys(ids, SINCE))


def fired(answered: Answered) -> tuple[Fired, ...]:
    found = (*answered.assessment.fired, *answered.fired)
    return tuple({each.recommendation.id: each for each in found}.values())


def steps(answered: Answered) -> Iterator[tuple[str, str]]:
    """Each order and each removal that can be accepted, by what it is of."""
    for advised in answered.advised:
        for suggestion in advised.card.suggestions:
            for action in suggestion.actions:
                yield action.type, str(action.resource_id or _key(action.resource or {}))


def _key(resource: Mapping[str, Any]) -> str:
    codings = resource.get("code", resource.get("medicationCodeableConcept", {})).get("coding", ())
    own = [each["code"] for each in codings if each["system"] == ORDER_SYSTEM]
    return f"{resource.get('resourceType')} {own or codings}"


def in_state(answered: Answered, state: str) -> set[str]:
    return {call["id"] for call in answered.extension.get("treatment", ()) if call["state"] == state}


def flags_of(found: Iterable[Fired]) -> set[str]:
    return {each.recommendation.red_flag.id for each in found if each.recommendation.red_flag}


def on_cards(answered: Answered) -> dict[str, str]:
    """The recommendations on the cards, each with the indicator that it has there."""
    return {
        entry["id"]: entry["indicator"]
        for advised in answered.advised
        for entry in (advised.card.extension or {}).get(BASIS_KEY, {}).get("recommendations", ())
    }


def wrong(whole: Answered, muted: Answered, one: Fired) -> Iterator[str]:
    """What of an answer without a recommendation that fires is not as it has to be."""
    yield from wrongly_decided(whole, muted)
    yield from wrongly_added(whole, muted)
    yield from wrongly_said(whole, muted, one)


def wrong_beside(whole: Answered, muted: Answered) -> Iterator[str]:
    """What of an answer is not as it has to be where all is suspended that does not fire."""
    yield from wrongly_decided(whole, muted)
    yield from wrongly_added(whole, muted)
    for members in ("treatment", "redFlags", "imaging", "referrals", "suspended"):
        if whole.extension.get(members) != muted.extension.get(members):
            yield f"says otherwise of {members}"
    if on_cards(whole) != on_cards(muted) or [*steps(whole)] != [*steps(muted)]:
        yield "has other cards"


def wrongly_decided(whole: Answered, muted: Answered) -> Iterator[str]:
    if [each.recommendation.id for each in muted.assessment.fired] != [
        each.recommendation.id for each in whole.assessment.fired
    ] or muted.assessment.rankings != whole.assessment.rankings:
        yield "decides otherwise"
    if muted.system_actions != whole.system_actions:
        yield "acts otherwise"


def wrongly_added(whole: Answered, muted: Answered) -> Iterator[str]:
    if added := {*steps(muted)} - {*steps(whole)}:
        yield f"adds {added}"
    if offered := in_state(muted, "offer") - in_state(whole, "offer"):
        yield f"offers {offered}"
    if in_state(muted, "hold") != in_state(whole, "hold"):
        yield f"holds {in_state(muted, 'hold')} and not {in_state(whole, 'hold')}"


def wrongly_said(whole: Answered, muted: Answered, one: Fired) -> Iterator[str]:
    id_ = one.recommendation.id
    others = flags_of(each for each in whole.assessment.red_flags() if each is not one)
    if lost := others - {flag["id"] for flag in muted.extension.get("redFlags", ())}:
        yield f"loses the red flags {lost}"
    before, after = on_cards(whole), on_cards(muted)
    flags = {each.recommendation.id for each in fired(whole) if each.recommendation.red_flag} - {id_}
    for name in flags & before.keys():
        if after.get(name) != before[name]:
            yield f"says of the red flag {name} {after.get(name)}"
    if id_ in after or after.keys() - before.keys():
        yield f"says {after.keys() - before.keys() or id_}"
    if whole.advised and not muted.advised:
        yield "says nothing"
    named = " ".join(f"{each.card.summary} {each.card.detail}" for each in muted.advised)
    if whole.advised and f"({id_}, Nov 20)" not in named and id_ in before:
        yield "does not name it"
    if muted.extension.get("suspended") != [id_]:
        yield f"tells machines {muted.extension.get('suspended')}"


def test_suspending_any_one_recommendation_adds_no_offer_order_or_removal_and_loses_no_other_red_flag(
    service: Service,
) -> None:
    every = {each.id for each in packaged().every_recommendation()}
    fixtures = [call for call in calls(0) if call.name.startswith("fixture")]
    tried, found = Counter[str](), []
    for number, call in enumerate(chain(fixtures, generated_calls(GENERATED))):
        try:
            whole = service.answer(call)
        except CdsHooksError:
            # What is refused says nothing.
            continue
        firing = sorted(fired(whole), key=lambda one: tried[one.recommendation.id])
        if number % 4 == 0:
            others = service.answer(call, suspended(*(every - {one.recommendation.id for one in firing})))
            found += [(call.name, "others", what) for what in wrong_beside(whole, others)]
        # With a fixture each that fires; of generated charts there are enough that each has its turn.
        for one in firing if number < len(fixtures) else firing[:1]:
            tried[one.recommendation.id] += 1
            muted = service.answer(call, suspended(one.recommendation.id))
            found += [(call.name, one.recommendation.id, what) for what in wrong(whole, muted, one)]
    assert len(tried) > 150
    assert tried.total() > 2000
    assert found[:5] == []


def fixture(name: str) -> Call:
    return next(call for call in calls(0) if call.name == f"fixture {name}")


def test_where_all_that_an_answer_would_say_is_suspended_one_card_names_it(service: Service) -> None:
    call = fixture("sudden-pop-with-bruising")
    whole = service.answer(call)
    ids = sorted({each.recommendation.id for each in whole.assessment.all_fired})
    (advised,) = service.answer(call, suspended(*ids)).advised
    assert advised.card.indicator == "info"
    assert advised.card.summary == "What this card would say is suspended: judge without it"
    said = {each.recommendation.id for each in whole.assessment.fired}
    assert all(f"{id_}, Nov 20" in (advised.card.detail or "") for id_ in said)
    assert not advised.card.suggestions


def test_a_suspended_hold_stays_a_hold_because_it_is_suspended(service: Service) -> None:
    tried = 0
    for call in generated_calls(60):
        try:
            whole = service.answer(call)
        except CdsHooksError:
            continue
        for treatment in whole.assessment.treatment:
            holding = [
                each.recommendation.id
                for each in whole.assessment.all_fired
                if any(of.id == treatment.id and of.state == "hold" for of in each.recommendation.treatment)
            ]
            if holding:
                entries = service.answer(call, suspended(*holding)).extension["treatment"]
                (entry,) = [each for each in entries if each["id"] == treatment.id]
                assert (entry["state"], entry["because"][-1]) == ("hold", "suspended")
                tried += 1
    assert tried > 20


def test_a_question_that_only_what_is_suspended_reads_stands_on_no_card(service: Service) -> None:
    reads, tried = reads_of(packaged()), 0
    for call in generated_calls(60):
        try:
            whole = service.answer(call)
        except CdsHooksError:
            continue
        for asked in whole.assessment.ask[:1]:
            question = capital(asked.short or packaged().short_of(asked.finding)) + "?"
            left = service.answer(call, suspended(*(id_ for id_, names in reads.items() if asked.finding in names)))
            if question in _details(whole) and left.advised:
                assert question not in _details(left), call.name
                tried += 1
    assert tried > 5


def _details(answered: Answered) -> str:
    return "\n".join(advised.card.detail or "" for advised in answered.advised)


def test_what_is_silent_is_neither_said_nor_named(service: Service) -> None:
    call = fixture("sudden-pop-with-bruising")
    everything = frozenset(each.id for each in packaged().recommendations)
    silent = service.answer(call, Muted(silent=everything))
    assert silent.advised == ()
    assert "suspended" not in silent.extension
    assert "redFlags" not in silent.extension
    assert silent.recommendations() == service.answer(call).recommendations()


@pytest.mark.parametrize("id_", [DIAGNOSIS, DIAGNOSIS_ENCOUNTER])
def test_a_suspended_service_says_so_where_it_would_have_said_anything(service: Service, id_: str) -> None:
    muted = Muted(services={id_: SINCE})
    whole, answered = (service.answer(fixture("sudden-pop-with-bruising"), of) for of in (NOTHING, muted))
    (advised,) = answered.advised
    assert advised.card.summary == "This service is suspended (since Nov 20): judge without it"
    assert answered.extension.keys() == {
        "knowledge",
        "complaint",
        "side",
        "data",
        "leftOut",
        "suspended",
    }
    assert set(answered.extension["suspended"]) == {each.recommendation.id for each in fired(whole)}
    assert service.answer(fixture("hip-pain-alone"), muted).advised == ()


def test_where_everything_is_suspended_the_answer_is_silent(service: Service) -> None:
    answered = service.answer(fixture("sudden-pop-with-bruising"), Muted(everything=SINCE))
    assert render(answered.response) == b'{"cards":[]}'
    assert answered.advised
