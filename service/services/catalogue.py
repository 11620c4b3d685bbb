"""The CDS services that Sitbone publishes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime

from cds_hooks import CdsService, HookRequest, HookResponse, ServiceCatalogue
from service import service_ids as ids
from service.answers.profiles import in_dialect
from service.chart.case import ResourceHead, prefetch_templates
from service.chart.orders import NO_SITE_CODES, SiteCodes
from service.guideline.model import Guideline
from service.pseudonyms import CardIds
from service.services.analgesic_safety import AnalgesicSafety
from service.services.appointment_timing import AppointmentTiming
from service.services.consultation import Consultant
from service.services.discharge_advice import DischargeAdvice
from service.services.imaging_referral import ImagingReferral

_NEEDS = (
    "FHIR R4. Needs the Patient and at least one of Condition and Observation, in the prefetch. "
    "The knowledge is a draft until a clinician has signed it: see the extension."
)
KNOWLEDGE_KEY = "org.sitbone.knowledge"


def catalogue(
    guideline: Guideline,
    clock: Callable[[], datetime],
    ehr_of: Callable[[str | None], str] = lambda _client: "generic",
    *,
    site_codes: SiteCodes = NO_SITE_CODES,
    annotates: Callable[[str | None], bool] = lambda _client: False,
    never_sends: Callable[[str | None], Collection[str]] = lambda _client: (),
    consulting: type[Consultant] = Consultant,
    card_ids: CardIds | None = None,
) -> ServiceCatalogue:
    """Every service with its hooks; `clock` gives the time of a call, in UTC, `ehr_of` the profile of a client by name.

    `site_codes` are a site's own codes of imaging orders; `annotates` says by the client's name who wants the orders
    that are signed to carry their rating, and `never_sends` which kinds of data never come. `consulting` is what reads
    and assesses; `card_ids` makes the ids of cards.
    """
    consultant = consulting(guideline, clock, site_codes, never_sends, card_ids)
    imaging = ImagingReferral(consultant, annotates)
    analgesics = AnalgesicSafety(consultant)
    appointments = AppointmentTiming(consultant)

    def diagnose(request: HookRequest) -> HookResponse:
        return consultant.consult(request, whole_chart=False).respond()

    templates = {**prefetch_templates(guideline), **consultant.orders.templates()}
    publishing = {KNOWLEDGE_KEY: {"id": guideline.id, "version": guideline.version, "status": guideline.status}}

    def service(
        title: str,
        description: str,
        answer: Callable[[HookRequest], HookResponse],
        entries: Mapping[str, str],
        needs_chart: Callable[[HookRequest], bool] = lambda _request: True,
    ) -> Iterator[CdsService]:
        def in_words_of_client(request: HookRequest) -> HookResponse:
            return in_dialect(ehr_of(request.client), answer(request), guideline.wording)

        for hook, id_ in entries.items():
            yield CdsService(
                id=id_,
                hook=hook,
                title=title,
                description=description,
                prefetch=templates,
                answer=in_words_of_client,
                usage_requirements=_NEEDS,
                extension=publishing,
                needs_chart=needs_chart,
                reads=ResourceHead,
                former_ids=(ids.FORMER_IDS[id_],) if id_ in ids.FORMER_IDS else (),
            )

    return ServiceCatalogue(
        [
            *service(
                guideline.title,
                "Reads the chart of a patient with pain of the buttock or the posterior thigh and answers with red "
                "flags, causes to consider, imaging, referral and treatment steps. Silent for every other chart.",
                diagnose,
                {"patient-view": ids.DIAGNOSIS, "encounter-start": ids.DIAGNOSIS_ENCOUNTER},
            ),
            *service(
                "Imaging for buttock or posterior thigh pain",
                "Rates draft imaging orders of hip, pelvis, thigh, lumbar spine and sacroiliac joint against the "
                "chart: appropriateness, side, region, what comes first, what was done or ordered already, and what a "
                "red flag calls for beside them. Silent for an order that is appropriate.",
                imaging.answer,
                {"order-select": ids.IMAGING_REFERRAL, "order-sign": ids.IMAGING_REFERRAL_SIGN},
                imaging.needs_chart,
            ),
            *service(
                "Pain medicine for buttock or posterior thigh pain",
                "Judges draft orders of NSAIDs, acetaminophen and corticosteroid injections against the chart: what "
                "speaks against them, a second product, a dose above the limit. Silent when nothing does.",
                analgesics.answer,
                {"order-select": ids.ANALGESIC_SAFETY, "order-sign": ids.ANALGESIC_SAFETY_SIGN},
                analgesics.needs_chart,
            ),
            *service(
                "Appointment timing for buttock or posterior thigh pain",
                "Compares the appointments that are being booked with what the chart documents of this pain, such as a "
                "red flag that allows fewer days. Silent when the visit is soon enough.",
                appointments.answer,
                {"appointment-book": ids.APPOINTMENT_TIMING},
                appointments.needs_chart,
            ),
            *service(
                "Discharge advice for buttock or posterior thigh pain",
                "For a patient with pain of the buttock or the posterior thigh who goes home: what to do, what to "
                "watch for and when to come back, as a card and as a message in plain language; or that the patient "
                "should not go home before a red flag has been evaluated.",
                DischargeAdvice(consultant).answer,
                {"encounter-discharge": ids.DISCHARGE_ADVICE},
            ),
        ]
    )
