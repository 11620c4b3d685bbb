"""The CDS services that Sitbone publishes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from cds_hooks import CdsService, HookRequest, HookResponse, ServiceCatalogue
from service.assessment import Assessor
from service.cards import Responder
from service.case import CaseReader, prefetch_templates
from service.guideline import Guideline

DIAGNOSIS = "gluteal-hamstring-pain"
KNOWLEDGE_KEY = "org.sitbone.knowledge"


def catalogue(guideline: Guideline, clock: Callable[[], datetime]) -> ServiceCatalogue:
    """Every service with its hooks; `clock` gives the time of a call, in UTC."""
    reader, assessor, responder = CaseReader(guideline), Assessor(guideline), Responder(guideline)

    def diagnose(request: HookRequest) -> HookResponse:
        now = clock()
        return responder.respond(assessor.assess(reader.read(request, now)), request, now)

    return ServiceCatalogue(
        [
            CdsService(
                id=DIAGNOSIS,
                hook=hook,
                title=guideline.title,
                description=(
                    "Reads the chart of a patient with pain of the buttock or the posterior thigh and answers with red "
                    "flags, causes to consider, imaging, referral and treatment steps. Silent for every other chart."
                ),
                prefetch=prefetch_templates(guideline),
                answer=diagnose,
                usage_requirements=(
                    "FHIR R4. Needs the Patient and at least one of Condition and Observation, in the prefetch. "
                    "The knowledge is a draft until a clinician has signed it: see the extension."
                ),
                extension={
                    KNOWLEDGE_KEY: {"id": guideline.id, "version": guideline.version, "status": guideline.status}
                },
            )
            for hook in ("patient-view", "encounter-start")
        ]
    )
