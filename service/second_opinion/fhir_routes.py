"""The adaptive form over HTTP: `/fhir/metadata`, the search for the form, and its operation under three URLs.

By SDC an adaptive form names the base of its server; some form fillers add the operation to it, some post to it as it
is, and the operation's own URL has the resource type between. All three mean the same.
Specification: SDC 4.0.0, Adaptive Forms and the form manager; FHIR R4 RESTful API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson
from flask import Blueprint, Response, request

from cds_hooks.blueprint import admitted, read_body
from cds_hooks.errors import UnknownService
from service.second_opinion.next_question import NAME, NextQuestion
from service.service_ids import DIAGNOSIS

if TYPE_CHECKING:
    from cds_hooks.trust import Gate

FHIR = "/fhir"
_OPERATION = "http://hl7.org/fhir/uv/sdc/OperationDefinition/Questionnaire-next-question"
_POSTED = (FHIR, f"{FHIR}/$next-question", f"{FHIR}/Questionnaire/$next-question")
_SEARCHED_BY = ("url", "version", "status")


def create_blueprint(
    operation: NextQuestion,
    *,
    gate: Gate | None,
    base_url: str | None,
    body_limit: int,
    pseudonym: Callable[[str], str],
) -> Blueprint:
    """The routes of the form. With a `gate`, they are for clients that may call the service at patient-view.

    base_url: the address of the service; without it, the one that the request went to. body_limit: in bytes.
    """
    blueprint = Blueprint("adaptive_form", __name__)

    def base() -> str:
        return base_url or request.root_url.rstrip("/")

    def answer(content: Any) -> Response:
        return Response(orjson.dumps(content))

    def next_question() -> Response:
        caller = admitted(gate, base, pseudonym, DIAGNOSIS, *_POSTED)
        client = caller.client.name if caller else None
        return answer(operation.answer(read_body(body_limit), base() + FHIR, client))

    for number, path in enumerate(_POSTED):
        blueprint.add_url_rule(path, f"next_question{number}", next_question, methods=["POST"])

    @blueprint.get(f"{FHIR}/metadata")
    def metadata() -> Response:
        # What it can do is no secret: a form filler asks for it before it has a token.
        return answer(_capabilities(operation, base() + FHIR))

    @blueprint.get(f"{FHIR}/Questionnaire")
    def search() -> Response:
        admitted(gate, base, pseudonym, DIAGNOSIS, f"{FHIR}/Questionnaire")
        form = operation.questionnaire(base() + FHIR)
        wanted = {name: request.args.getlist(name) for name in _SEARCHED_BY}
        found = all(form[name] in value.split(",") for name, values in wanted.items() for value in values)
        entries = [{"fullUrl": form["url"], "resource": form, "search": {"mode": "match"}}]
        bundle = {"resourceType": "Bundle", "type": "searchset", "total": int(found)}
        return answer({**bundle, "entry": entries} if found else bundle)

    @blueprint.get(f"{FHIR}/Questionnaire/<id_>")
    def read(id_: str) -> Response:
        admitted(gate, base, pseudonym, DIAGNOSIS, f"{FHIR}/Questionnaire/{id_}")
        if id_ != NAME:
            raise UnknownService(f"There is one form here: {FHIR}/Questionnaire/{NAME}.")
        return answer(operation.questionnaire(base() + FHIR))

    @blueprint.after_request
    def say_fhir(response: Response) -> Response:
        response.content_type = "application/fhir+json"
        return response

    return blueprint


def _capabilities(operation: NextQuestion, base: str) -> dict[str, Any]:
    """What this FHIR endpoint can do."""
    form = operation.questionnaire(base)
    return {
        "resourceType": "CapabilityStatement",
        "status": form["status"],
        "date": form["date"],
        "kind": "instance",
        "software": {"name": "Sitbone"},
        "implementation": {"description": form["title"], "url": base},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json"],
        "rest": [
            {
                "mode": "server",
                "resource": [
                    {
                        "type": "Questionnaire",
                        "interaction": [{"code": "read"}, {"code": "search-type"}],
                        "searchParam": [
                            {"name": "url", "type": "uri"},
                            {"name": "version", "type": "token"},
                            {"name": "status", "type": "token"},
                        ],
                        "operation": [{"name": "next-question", "definition": _OPERATION}],
                    }
                ],
            }
        ],
    }
