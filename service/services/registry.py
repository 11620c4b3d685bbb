"""The CDS services that Sitbone publishes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import msgspec

from cds_hooks import CdsService, HookRequest, ServiceRegistry
from service import service_ids as ids
from service.answers.answered import Answered
from service.answers.profiles import in_style
from service.answers.spelling import Spelling
from service.chart.case import READS, prefetch_templates
from service.chart.orders import NO_SITE_CODES, SiteCodes
from service.knowledge_model.model import Knowledge
from service.knowledge_model.vocabulary import PUBLISHED
from service.pseudonyms import CardIds
from service.services.analgesic_safety import AnalgesicSafety
from service.services.appointment_timing import AppointmentTiming
from service.services.discharge_advice import DischargeAdvice
from service.services.evaluation import Evaluator
from service.services.imaging_referral import ImagingReferral
from service.settings import AS_IT_IS, Style

_NEEDS = (
    "FHIR R4. Needs the Patient and at least one of Condition and Observation, in the prefetch. "
    "The knowledge is a draft until a clinician has signed it: see the extension."
)
KNOWLEDGE_KEY = "org.sitbone.knowledge"
# Each service with its hooks, and the id under which it answers that hook.
_ENTRIES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "diagnosis": {"patient-view": ids.DIAGNOSIS, "encounter-start": ids.DIAGNOSIS_ENCOUNTER},
        "imaging-referral": {"order-select": ids.IMAGING_REFERRAL, "order-sign": ids.IMAGING_REFERRAL_SIGN},
        "analgesic-safety": {"order-select": ids.ANALGESIC_SAFETY, "order-sign": ids.ANALGESIC_SAFETY_SIGN},
        "appointment-timing": {"appointment-book": ids.APPOINTMENT_TIMING},
        "discharge-advice": {"encounter-discharge": ids.DISCHARGE_ADVICE},
    }
)


def _always(_request: HookRequest) -> bool:
    """Whether a service needs the chart, whatever is asked."""
    return True


def service_registry(
    knowledge: Knowledge,
    clock: Callable[[], datetime],
    style_of: Callable[[str | None], Style] = lambda _client: AS_IT_IS,
    *,
    site_codes: SiteCodes = NO_SITE_CODES,
    annotates: Callable[[str | None], bool] = lambda _client: False,
    never_sends: Callable[[str | None], Collection[str]] = lambda _client: (),
    card_ids: CardIds | None = None,
    address_of: Callable[[str], str] | None = None,
) -> ServiceRegistry[Answered]:
    """Every service with its hooks; `clock` gives the time of a call, in UTC, `style_of` the style of a client by name.

    `site_codes` are a site's own codes of imaging orders; `annotates` says by the client's name who wants the orders
    that are signed to carry their rating, and `never_sends` which kinds of data never come. `card_ids` makes the ids
    of cards, and `address_of` the address of the pages that cards link to; see Responder.
    """
    evaluator = Evaluator(knowledge, clock, site_codes, never_sends, card_ids, style_of=style_of, address_of=address_of)
    return services_by(evaluator, annotates)


def services_by(
    evaluator: Evaluator,
    annotates: Callable[[str | None], bool] = lambda _client: False,
) -> ServiceRegistry[Answered]:
    """The services that read and assess by this evaluator; see service_registry."""
    knowledge = evaluator.knowledge
    imaging = ImagingReferral(evaluator, annotates)
    analgesics = AnalgesicSafety(evaluator)
    appointments = AppointmentTiming(evaluator)

    def diagnose(request: HookRequest) -> Answered:
        return evaluator.evaluate(request, whole_chart=False).respond()

    templates = {**prefetch_templates(knowledge), **evaluator.orders.templates()}
    spelling = Spelling(knowledge.uk_words)

    def publishing() -> Mapping[str, Any]:
        return {KNOWLEDGE_KEY: {"id": knowledge.id, **evaluator.standings_now().described()}}

    def service(
        name: str, answer: Callable[[HookRequest], Answered], needs_chart: Callable[[HookRequest], bool]
    ) -> Iterator[CdsService[Answered]]:
        presented, names = knowledge.engine.services[name], _ENTRIES[name].values()

        def for_client(request: HookRequest) -> Answered:
            answered, style = answer(request), evaluator.style_of(request.client)
            muted = answered.muted
            if since := next((muted.services[id_] for id_ in names if id_ in muted.services), None):
                answered = evaluator.responder.of_suspended_service(answered, since, evaluator.clock())
            if not muted.answers or evaluator.is_silent(request.client):
                answered = msgspec.structs.replace(answered, silent=True)
            if style == AS_IT_IS:
                return answered
            cards = (
                msgspec.structs.replace(each, card=in_style(style, each.card, knowledge, spelling))
                for each in answered.advised
            )
            return msgspec.structs.replace(answered, advised=tuple(cards), extensions=style.extensions)

        for hook, id_ in _ENTRIES[name].items():
            yield CdsService(
                id=id_,
                hook=hook,
                title=presented.title or knowledge.title,
                description=presented.description,
                prefetch=templates,
                answer=for_client,
                usage_requirements=_NEEDS,
                extension=publishing,
                needs_chart=needs_chart,
                reads=READS,
                former_ids=(ids.FORMER_IDS[id_],) if id_ in ids.FORMER_IDS else (),
            )

    answers = {
        "diagnosis": (diagnose, _always),
        "imaging-referral": (imaging.answer, imaging.needs_chart),
        "analgesic-safety": (analgesics.answer, analgesics.needs_chart),
        "appointment-timing": (appointments.answer, appointments.needs_chart),
        "discharge-advice": (DischargeAdvice(evaluator).answer, _always),
    }
    return ServiceRegistry([each for name in PUBLISHED for each in service(name, *answers[name])])
