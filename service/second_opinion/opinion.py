"""The opinion on a chart with the answers that were given on the page: what the hook would say of it, and what to ask.

The request is that of a patient-view hook: the chart as it was read, and the answers as one more QuestionnaireResponse.
The code that answers hooks answers it, so that the page cannot say anything else than the card.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import orjson

from cds_hooks import CdsService, HookRequest
from cds_hooks.prefetch import PrefetchState, PrefetchValue
from cds_hooks.request import read_envelope, request_for
from service.answers.answered import Answered
from service.answers.muting import unasked
from service.knowledge_model.model import Question
from service.prefetch_keys import QUESTIONNAIRE_RESPONSES
from service.reasoning.assessment import Assessment
from service.reasoning.questions import DECIDING
from service.second_opinion.answers import Item
from service.second_opinion.open_items import open_items
from service.second_opinion.refusals import SILENT, Refused
from service.second_opinion.sealing import Session
from service.services.evaluation import Evaluation, Evaluator

# The states of data to which one more resource adds; what failed, or never came, is then there in part.
_WHOLE = frozenset({PrefetchState.SUPPLIED, PrefetchState.FETCHED})
_WHOLE_WITHOUT = frozenset({PrefetchState.EMPTY, PrefetchState.NULL})


class Group(NamedTuple):
    """A question of the knowledge by its number, and the terms that an answer to it could change when it was asked."""

    number: int
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Opinion:
    """What is made of one chart: the answer of the hook, and the evaluation that it stands on."""

    answered: Answered
    evaluation: Evaluation

    @property
    def is_emergency(self) -> bool:
        """Whether nothing is asked, because it must not delay what is advised."""
        return self.evaluation.assessment.ranking_waits

    @property
    def is_suspended(self) -> bool:
        """Whether the whole service is: then nothing is said or asked."""
        return self.answered.service_suspended

    @cached_property
    def spoken(self) -> Assessment:
        """What of the assessment is said."""
        return self.evaluation.spoken()

    @cached_property
    def sides(self) -> tuple[str, ...]:
        """The sides of this pain; no side where the chart names none."""
        return self.evaluation.case.sides()


class Opinions:
    """Makes opinions by one body of knowledge. `service` answers patient-view; `complete` fills the gaps of a request's
    prefetch, and `revise` may take cards out of an answer, both as for a hook call."""

    def __init__(
        self,
        evaluator: Evaluator,
        service: CdsService[Answered],
        complete: Callable[[HookRequest, CdsService[Answered]], HookRequest],
        revise: Callable[[HookRequest, Answered], Answered] | None,
    ) -> None:
        self.evaluator, self.knowledge = evaluator, evaluator.knowledge
        self._service, self._complete, self._revise = service, complete, revise

    def read(self, session: Session, seconds_left: float, correlation_id: str) -> HookRequest:
        """The patient-view request about this chart, with all that the FHIR server gives of it."""
        members = {
            "hook": self._service.hook,
            "hookInstance": session.page,
            "fhirServer": session.iss,
            "fhirAuthorization": {
                "access_token": session.access_token,
                "token_type": "Bearer",
                "expires_in": max(int(seconds_left), 1),
                "scope": session.scope,
                "patient": session.patient,
            },
            "context": {
                "patientId": session.patient,
                # Where the authorization server does not say who it is, no order names anybody.
                **({"userId": session.user} if session.user else {}),
                **({"encounterId": session.encounter} if session.encounter else {}),
            },
        }
        envelope = read_envelope(orjson.dumps(members))
        request = request_for(envelope, self._service, correlation_id=correlation_id, client=session.client)
        return self._complete(request, self._service)

    def of(self, request: HookRequest) -> Opinion:
        """The opinion on a chart. Raises PreconditionFailed where too little of it came, as the hook does, and
        Refused where its answers say nothing."""
        answered = self._service.answer(request)
        if answered.silent:
            raise Refused(SILENT)
        if self._revise is not None:
            answered = self._revise(request, answered)
        return Opinion(answered, self.evaluator.behind(request, answered))

    # -- questions ----------------------------------------------------------------------------------------------------

    def groups(self, opinion: Opinion, asked: Collection[str]) -> tuple[Group, ...]:
        """What to ask next, three questions at most; nothing where no answer would change what is decided, or where it
        would delay an emergency. Not about findings that were `asked` for already."""
        decision = opinion.evaluation.assessment.decision
        if decision is None or opinion.is_emergency or self.is_enough(opinion, asked):
            return ()
        questions, unsaid = self.evaluator.assessor.questions, opinion.evaluation.muted.ids
        next_ = questions.ask(decision, self._but(opinion, asked), unsaid)
        found = [Group(questions.number_of(each), each.changes) for each in next_]
        # What a key or a tap answers comes first on the screen.
        return tuple(sorted(found, key=self._is_written))

    def _is_written(self, group: Group) -> bool:
        """Whether any answer to a question is a number or a date."""
        findings = map(self.knowledge.findings.get, self.question(group).findings)
        return any(finding is None or finding.value != "boolean" for finding in findings)

    def is_enough(self, opinion: Opinion, asked: Collection[str]) -> bool:
        """Whether no answer left would change urgency, imaging or referral."""
        return DECIDING.isdisjoint(self.can_change(opinion, asked))

    def can_change(self, opinion: Opinion, asked: Collection[str]) -> frozenset[str]:
        """The terms of the knowledge that an answer left could change, of what is said."""
        decision = opinion.evaluation.assessment.decision
        if decision is None or opinion.is_suspended:
            return frozenset()
        questions, unsaid = self.evaluator.assessor.questions, opinion.evaluation.muted.ids
        return questions.can_change(decision, self._but(opinion, asked), unsaid)

    def _but(self, opinion: Opinion, asked: Collection[str]) -> frozenset[str]:
        # The age is asked for where a chart has none: it is no finding, and no form can tell it.
        every = (finding for question in self.knowledge.questions for finding in question.findings)
        no_findings = {finding for finding in every if finding not in self.knowledge.findings}
        return frozenset(asked) | no_findings | self._unasked(opinion)

    def _unasked(self, opinion: Opinion) -> frozenset[str]:
        return unasked(self.evaluator.responder.reads, opinion.evaluation.muted)

    def question(self, group: Group) -> Question:
        """The question of the knowledge that a group is."""
        return self.knowledge.questions[group.number]

    def items(self, chart: Opinion, group: Group) -> tuple[Item, ...]:
        """What of a question is asked for: what this chart, which is without the answers of the page, does not tell."""
        found = open_items(chart.evaluation.assessment, self.knowledge, self.question(group), chart.sides)
        # The age is no finding, and no form can tell it. What is suspended meanwhile is not asked for any more.
        asked = self.knowledge.findings.keys() - self._unasked(chart)
        return tuple(item for item in found if item.finding in asked)

    def can_be_corrected(self, finding: str) -> bool:
        """Whether what the chart states of a finding can be answered otherwise: where a question would ask for it."""
        return finding in self._asked_for

    @cached_property
    def _asked_for(self) -> frozenset[str]:
        findings = (finding for question in self.knowledge.questions for finding in question.findings)
        return frozenset(finding for finding in findings if finding in self.knowledge.findings)


def with_answers(request: HookRequest, form: Mapping[str, Any]) -> HookRequest:
    """The same request with one more QuestionnaireResponse on the chart."""
    key = QUESTIONNAIRE_RESPONSES
    before = request.prefetch.get(key) or PrefetchValue(key, PrefetchState.MISSING)
    state = before.state
    if state in _WHOLE_WITHOUT:
        state = PrefetchState.FETCHED
    elif state not in _WHOLE:
        state = PrefetchState.INCOMPLETE
    resources: Sequence[msgspec.Raw] = (*before.resources, msgspec.Raw(orjson.dumps(form)))
    value = PrefetchValue(key, state, resources, before.note)
    return replace(request, prefetch={**request.prefetch, key: value})
