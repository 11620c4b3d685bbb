"""What to ask next, as an adaptive form: a QuestionnaireResponse in, the same with more questions or the advice out.

Nothing is kept between calls: the groups that are answered tell what was asked. The form brings no chart, so the advice
stands on its answers alone and says what it has not seen.
Specification: SDC 4.0.0 and 3.0.0, Adaptive Forms; operation Questionnaire/$next-question; FHIR R4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from cds_hooks import CdsService
from cds_hooks.errors import BadRequest, CdsHooksError, Forbidden, PreconditionFailed
from cds_hooks.request import read_envelope, request_for
from service.answers.answered import Answered
from service.chart.elements import FHIR_ID
from service.chart.fhir_time import read_when
from service.fhir_validation import violations
from service.prefetch_keys import PATIENT, QUESTIONNAIRE_RESPONSES
from service.second_opinion.answers import SIDE
from service.second_opinion.form import (
    AGE,
    NONE_OF_THESE,
    Answer,
    Form,
    Group,
    Json,
    link_of,
    link_of_group,
)
from service.services.evaluation import Evaluator

NAME = "second-opinion"
ADAPTIVE = "http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-questionnaireAdaptive"
_VERSIONS = "http://hl7.org/fhir/StructureDefinition/artifact-versionAlgorithm"
_ENOUGH, _ADVICE = "enough", "advice"
_PARAMETERS = ("questionnaire-response", "questionnaire-response-in")
# Of the patient of a form that names none; it is an id in one call, and nothing is kept of it.
_NO_PATIENT = "of-this-form"
_MARKS = re.compile(r"\*\*|\\(?=[^\w\s])")


class BadFormError(BadRequest):
    """What was sent is no form that can be gone on with."""

    title = "The form cannot be read"


class UnknownFormError(CdsHooksError):
    """The form is derived from one that is not published here."""

    status, issue_code, title = 404, "not-found", "There is no such form here"


class OutdatedFormError(CdsHooksError):
    """The form was begun with an older knowledge, and holds what the present one does not ask."""

    status, issue_code, title = 409, "conflict", "The form is one of an older version"


class NotThisPainError(CdsHooksError):
    """The answers say that the pain is not where this knowledge has anything to say."""

    status, issue_code, title = 422, "business-rule", "There is nothing to ask about this pain"


class NextQuestion:
    """The operation for one body of knowledge; made once.

    `service` is the CDS service at patient-view, which answers for a form as it does for a chart, by this evaluator.
    """

    def __init__(self, evaluator: Evaluator, service: CdsService[Answered]) -> None:
        self._evaluator, self._service, self._clock = evaluator, service, evaluator.clock
        self.form, self.knowledge = Form(evaluator.assessor), evaluator.knowledge

    def questionnaire(self, base: str) -> Json:
        """The form as it is found by a search: how it is called, and that its questions come one after the other.

        base: the address of the FHIR endpoint.
        """
        knowledge = self.knowledge
        return {
            "resourceType": "Questionnaire",
            "id": NAME,
            "extension": [_adaptive(base), {"url": _VERSIONS, "valueCoding": _SEMVER}],
            "url": self._url(base),
            "version": self.knowledge.version,
            "title": self._title,
            "status": self._evaluator.standings_now().status,
            "subjectType": ["Patient"],
            "date": max(entry.date for each in knowledge.recommendations for entry in each.history).isoformat(),
        }

    @property
    def _title(self) -> str:
        return f"{self.knowledge.title}: second opinion"

    def _url(self, base: str) -> str:
        return f"{base}/Questionnaire/{NAME}"

    def answer(self, body: bytes, base: str, client: str | None = None) -> Json:
        """The response to a body: the same form with the next questions, or completed, and with the advice.

        base: the address of the FHIR endpoint; client: the name of the one that calls.

        Raises BadFormError, UnknownFormError, OutdatedFormError, NotThisPainError.
        """
        response = _response_in(body)
        outdated = self._derived_from_older(response, base)
        answers, enough = self._read(response, outdated=outdated)
        answers = self.form.with_none_of_these(answers)
        ends = enough or response["status"] == "completed"
        located = any(answer.group.locates and answer.item != SIDE for answer in answers)
        answered = self._advised(response, answers, client) if located or ends else None
        if answered is None:
            groups = [self.form.where]
        elif answered.assessment.complaint != "present":
            raise self._not_this_pain()
        else:
            groups = self._next_groups(answered, answers)
        done = ends or not groups
        items = [self.form.item_of_group(group, closed=True) for group in _as_answered(answers)]
        if not done:
            items += [self.form.item_of_group(group) for group in groups]
            items.append({"linkId": _ENOUGH, "text": "Enough: no more questions", "type": "boolean"})
        items += self._suspended(answered)
        items += _advice(answered, base)
        contained = {
            **_contained(response),
            "extension": [_adaptive(base)],
            "title": self._title,
            "status": self._evaluator.standings_now().status,
            "subjectType": ["Patient"],
            "derivedFrom": [f"{self._url(base)}|{self.knowledge.version}"],
            "item": items,
        }
        for member in ("url", "version"):
            contained.pop(member, None)
        written = self.form.response_items(answers)
        if enough:
            written.append({"linkId": _ENOUGH, "answer": [{"valueBoolean": True}]})
        others = [each for each in response["contained"] if each.get("id") != contained["id"]]
        return {
            **{member: value for member, value in response.items() if member != "item"},
            "contained": [contained, *others],
            "authored": response.get("authored", self._clock().isoformat(timespec="seconds")),
            "status": "completed" if done else "in-progress",
            **({"item": written} if written else {}),
        }

    # -- What is asked ------------------------------------------------------------------------------------------------

    def _next_groups(self, answered: Answered, answers: Sequence[Answer]) -> list[Group]:
        # A service that is suspended asks nothing.
        if answered.service_suspended:
            return []
        return self.form.next_groups(answered.assessment, {answer.item for answer in answers}, answered.muted)

    def _derived_from_older(self, response: Json, base: str) -> bool:
        """Whether the form is derived from another version of ours; raises UnknownFormError where from none."""
        form = _contained(response)
        for canonical in (*form.get("derivedFrom", ()), form.get("url", "")):
            url, _bar, version = canonical.partition("|")
            if url == self._url(base):
                return version not in ("", self.knowledge.version)
        raise UnknownFormError(
            "contained.ofType(Questionnaire).derivedFrom: expected the form of this server, received another or none. "
            f"Search for it under Questionnaire, and name {NAME}."
        )

    def _read(self, response: Json, *, outdated: bool) -> tuple[list[Answer], bool]:
        """The answers, and whether it is enough. Raises BadFormError or OutdatedFormError."""
        answers: list[Answer] = []
        enough, seen = False, set[str]()
        offered = {each.get("linkId"): each for each in _contained(response).get("item", ())}
        for number, item in enumerate(response.get("item", ())):
            at = f"QuestionnaireResponse.item[{number}]"
            link_id = item["linkId"]
            if link_id == _ENOUGH:
                enough = any(_boolean(given, f"{at}.answer") for given in item.get("answer", ()))
                continue
            if link_id.startswith(_ADVICE):
                continue
            group = self.form.group_of(link_id)
            if group is None or link_id in seen:
                raise _no_such_item(at, outdated=outdated)
            seen.add(link_id)
            if shown := {each.get("linkId") for each in offered.get(link_id, {}).get("item", ())}:
                group = group._replace(findings=tuple(f for f in group.findings if link_of(group, f) in shown))
            answers += self._answers_in(group, item, at, outdated=outdated)
        return answers, enough

    def _answers_in(self, group: Group, item: Json, at: str, *, outdated: bool) -> Iterator[Answer]:
        names = {link_of(group, name): name for name in (*group.findings, SIDE if group.locates else NONE_OF_THESE)}
        for number, inner in enumerate(item.get("item", ())):
            inner_at = f"{at}.item[{number}]"
            # Each once: the same linkId twice on one level is no valid response.
            name = names.pop(inner["linkId"], None)
            if name is None:
                raise _no_such_item(inner_at, outdated=outdated)
            given = inner.get("answer", ())
            if len(given) > 1:
                raise BadFormError(
                    f"{inner_at}.answer: expected one, received several.", expression=f"{inner_at}.answer"
                )
            for answer in given:
                yield self._answer(group, name, answer, f"{inner_at}.answer")

    def _answer(self, group: Group, name: str, answer: Json, at: str) -> Answer:
        """One answer, of the type that its item has. Raises BadFormError."""
        if name == NONE_OF_THESE:
            return Answer(group, name, "valueBoolean", _boolean(answer, at))
        if name == SIDE or self.form.is_choice(name):
            options = self.form.sides if name == SIDE else self.form.answers
            return Answer(group, name, "valueCoding", _coding(answer, options, at))
        finding = self.knowledge.findings.get(name)
        if name == AGE or (finding and finding.value == "date"):
            day = answer.get("valueDate")
            if not isinstance(day, str) or read_when(day) is None:
                raise _wrong_type(at, "valueDate")
            return Answer(group, name, "valueDate", day)
        quantity = answer.get("valueQuantity")
        if not isinstance(quantity, dict) or not isinstance(quantity.get("value"), int | float):
            raise _wrong_type(at, "valueQuantity with a value")
        return Answer(group, name, "valueQuantity", quantity)

    # -- What is advised ----------------------------------------------------------------------------------------------

    def _advised(self, response: Json, answers: Sequence[Answer], client: str | None) -> Answered:
        """What the CDS service says to a chart that holds nothing but these answers."""
        patient = str(response.get("subject", {}).get("reference", "")).rpartition("/")[2]
        patient = patient if FHIR_ID.fullmatch(patient) else _NO_PATIENT
        subject = {"reference": f"Patient/{patient}"}
        born = [answer.value for answer in answers if answer.item == AGE]
        form = {
            "resourceType": "QuestionnaireResponse",
            "id": "this-form",
            "status": "completed",
            "subject": subject,
            "authored": self._clock().isoformat(timespec="seconds"),
            "item": self.form.response_items(each for each in answers if each.item != AGE),
        }
        bundle = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": form}]}
        birth = {"birthDate": born[0]} if born else {}
        call = {
            "hook": self._service.hook,
            "hookInstance": "00000000-0000-4000-8000-000000000000",
            "context": {"userId": "Practitioner/unknown", "patientId": patient},
            "prefetch": {
                PATIENT: {"resourceType": "Patient", "id": patient, **birth},
                QUESTIONNAIRE_RESPONSES: bundle,
            },
        }
        envelope = read_envelope(orjson.dumps(call))
        try:
            answered = self._service.answer(request_for(envelope, self._service, correlation_id=NAME, client=client))
        except PreconditionFailed:
            # Nothing tells of this pain, and a form brings no chart that could.
            raise self._not_this_pain() from None
        if answered.silent:
            raise Forbidden("The service is silent for this client: it assesses its calls and answers nothing.")
        return answered

    def _suspended(self, answered: Answered | None) -> Iterator[Json]:
        """An item to read that names what is suspended, so that neither its questions nor its advice come."""
        now = self._clock()
        for line in self._evaluator.names_suspended(answered.muted if answered else self._evaluator.muted(now), now):
            yield {"linkId": f"{_ADVICE}-suspended", "text": line, "type": "display"}

    def _not_this_pain(self) -> NotThisPainError:
        return NotThisPainError(
            "QuestionnaireResponse.item: expected a place of pain that is present, received none. This form asks about "
            f"{self.knowledge.title.lower()} alone; nothing is said of another pain."
        )


_SEMVER: Mapping[str, str] = {"system": "http://hl7.org/fhir/version-algorithm", "code": "semver"}


def _adaptive(base: str) -> Json:
    return {"url": ADAPTIVE, "valueUrl": base}


def _response_in(body: bytes) -> Json:
    """The QuestionnaireResponse of a body, which is that or Parameters with it. Raises BadFormError."""
    try:
        given = _without_null(orjson.loads(body))
    except orjson.JSONDecodeError:
        raise BadFormError("body: expected JSON, received what is none.") from None
    if isinstance(given, dict) and given.get("resourceType") == "Parameters":
        parameters = given.get("parameter")
        named = [
            each.get("resource")
            for each in (parameters if isinstance(parameters, list) else ())
            if isinstance(each, dict) and each.get("name") in _PARAMETERS
        ]
        if len(named) != 1:
            raise BadFormError(
                "Parameters.parameter: expected one of the name questionnaire-response, received none or several.",
                expression="Parameters.parameter",
                code="required",
            )
        given = named[0]
    if not isinstance(given, dict) or given.get("resourceType") != "QuestionnaireResponse":
        raise BadFormError("body: expected a QuestionnaireResponse, or Parameters with one, received something else.")
    if wrong := violations(given):
        where = wrong.partition(";")[0]
        raise BadFormError(
            f"QuestionnaireResponse: expected valid FHIR R4, received what is not at {where}.",
            expression=f"QuestionnaireResponse.{where}",
            code="structure",
        )
    _contained(given)
    return given


def _without_null(value: Any) -> Any:
    """The same without members that are null, which FHIR does not have and the models let pass."""
    if isinstance(value, dict):
        return {name: _without_null(member) for name, member in value.items() if member is not None}
    return [_without_null(each) for each in value if each is not None] if isinstance(value, list) else value


def _contained(response: Json) -> Json:
    """The form that the response holds and answers. Raises BadFormError where there is none."""
    named = response.get("questionnaire", "")
    for resource in response.get("contained", ()):
        if resource.get("resourceType") == "Questionnaire" and named in ("", f"#{resource.get('id')}"):
            found: Json = resource
            return found
    raise BadFormError(
        "QuestionnaireResponse.contained: expected the adaptive Questionnaire that questionnaire names, received none.",
        expression="QuestionnaireResponse.contained",
        code="required",
    )


def _as_answered(answers: Sequence[Answer]) -> Iterator[Group]:
    """The groups of these answers, each with the findings alone that have one."""
    groups: dict[str, tuple[Group, set[str]]] = {}
    for answer in answers:
        groups.setdefault(link_of_group(answer.group), (answer.group, set()))[1].add(answer.item)
    for group, names in groups.values():
        yield group._replace(findings=tuple(name for name in group.findings if name in names))


def _advice(answered: Answered | None, base: str) -> Iterator[Json]:
    """An item to read for each card, and with it the ids of the recommendations that it stands on."""
    basis = f"{base}/StructureDefinition/org.sitbone.basis"
    for number, each in enumerate(answered.advised if answered else (), start=1):
        text = f"{each.card.summary}\n{each.card.detail}" if each.card.detail else each.card.summary
        yield {
            "linkId": _ADVICE if number == 1 else f"{_ADVICE}-{number}",
            "text": _MARKS.sub("", text),
            "type": "display",
            "extension": [{"url": basis, "valueCode": id_} for id_, _version in each.versions()],
        }


def _boolean(answer: Json, at: str) -> bool:
    value = answer.get("valueBoolean")
    if not isinstance(value, bool):
        raise _wrong_type(at, "valueBoolean")
    return value


def _coding(answer: Json, options: Iterable[Json], at: str) -> Json:
    coding = answer.get("valueCoding")
    if not isinstance(coding, dict) or coding.get("code") not in {each["code"] for each in options}:
        raise _wrong_type(at, "valueCoding, one of the options of the item")
    return coding


def _wrong_type(at: str, expected: str) -> BadFormError:
    return BadFormError(f"{at}: expected {expected}, received something else.", expression=at, code="value")


def _no_such_item(at: str, *, outdated: bool) -> CdsHooksError:
    if outdated:
        return OutdatedFormError(
            f"{at}.linkId: expected an item that the present knowledge asks, received one of an older version. "
            "Begin a new form.",
            expression=f"{at}.linkId",
        )
    return BadFormError(
        f"{at}.linkId: expected the linkId of an item of the form, once, received another.",
        expression=f"{at}.linkId",
        code="value",
    )
