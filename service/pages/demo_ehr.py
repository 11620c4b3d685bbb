"""The page at `/`: a small EHR in the browser. A clinician sees the cards in it before an EHR team has written a line.

It calls discovery, the services and feedback as any CDS client does. What is served here beside its files is data that
an EHR has of its own: made-up patients, the findings that can be documented, the orders that can be placed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
from flask import Blueprint, Response, render_template, request

from cds_hooks.errors import UnknownService
from service.answers.orders import Ordering, service_request
from service.knowledge_model.model import LOCAL_SYSTEM, Knowledge
from service.knowledge_model.vocabulary import SYSTEMS
from service.release.states import DRAFT, Standings
from service.services.explanation import Explainer, as_dict

# The made-up patients: their stories in personas.toml, and of each the request of its name.
PERSONAS = Path(__file__).parent / "personas"
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def create_blueprint(
    knowledge: Knowledge,
    explainer: Explainer | None,
    body_limit: int,
    *,
    fetches: bool = False,
    insights: bool = False,
    server: str = "",
    demo: bool = False,
    standings_now: Callable[[], Standings] | None = None,
) -> Blueprint:
    """`/`, its files under `/demo/files/`, its data: `/demo/patients`, `/demo/patients/<name>`, `/demo/vocabulary`; and
    `/explain/<service id>`, the whole decision about a request of at most `body_limit` bytes.

    Without an `explainer` the page tells what stands on the cards. `fetches` says that the service reads FHIR servers,
    so that the page asks for the address of one; `insights` that there is the page of that name. `server` is the FHIR
    server of this EHR, from which the page of the second opinion reads a chart; empty where it has none.
    `demo` says on the page that everybody may see it. `standings_now` says what of the knowledge is in force.
    """
    made_up = _Personas()
    described = orjson.dumps(vocabulary(knowledge))
    files = {path.name: path.read_bytes() for path in (Path(__file__).parent / "static").iterdir()}
    blueprint = Blueprint("demo", __name__, template_folder=".")
    headers = dict(HEADERS)
    if server:
        # The page of the second opinion is shown in a frame, as an EHR does it.
        headers["Content-Security-Policy"] += f"; frame-src {'/'.join(server.split('/')[:3])}"

    @blueprint.get("/")
    def page() -> str:
        return render_template(
            "demo_ehr.html",
            title=knowledge.title,
            version=standings_now().version if standings_now else knowledge.version,
            draft=not standings_now or standings_now().status == DRAFT,
            explains=bool(explainer),
            fetches=fetches,
            insights=insights,
            server=server,
            demo=demo,
        )

    @blueprint.get("/demo/files/<name>")
    def file(name: str) -> Response:
        if name not in files:
            raise UnknownService("There is no such file of the page.")
        return Response(files[name], mimetype=_TYPES[name.rpartition(".")[2]])

    @blueprint.get("/demo/patients")
    def patient_list() -> Response:
        return Response(made_up.listed, content_type="application/json")

    @blueprint.get("/demo/patients/<path:name>")
    def patient(name: str) -> Response:
        if name not in made_up.requests:
            raise UnknownService("There is no such patient; /demo/patients has the list.")
        return Response(made_up.requests[name], content_type="application/json")

    @blueprint.get("/demo/vocabulary")
    def words() -> Response:
        return Response(described, content_type="application/json")

    if explainer is not None:

        @blueprint.post("/explain/<service_id>")
        def explain(service_id: str) -> Response:
            request.max_content_length = body_limit
            explanation = explainer.explain(service_id, request.get_data(cache=False))
            return Response(orjson.dumps(as_dict(explanation)), content_type="application/json")

    @blueprint.after_request
    def guard(response: Response) -> Response:
        response.headers.update(headers)
        return response

    return blueprint


class _Personas:
    """The made-up patients, read when the first one is asked for."""

    @cached_property
    def requests(self) -> Mapping[str, bytes]:
        """Name -> body."""
        return {name: (PERSONAS / "requests" / f"{name}.json").read_bytes() for name in personas()["personas"]}

    @cached_property
    def listed(self) -> bytes:
        """What the page chooses from, with the time at which the requests were made."""
        described = personas()
        entries = []
        for name, entry in described["personas"].items():
            request = orjson.loads(self.requests[name])
            born = date.fromisoformat(request["prefetch"]["patient"]["birthDate"])
            made = described["clock"].date()
            age = made.year - born.year - ((made.month, made.day) < (born.month, born.day))
            told = {"group": entry["group"], "story": entry["story"], "hook": request["hook"]}
            entries.append({"name": name, "title": f"{entry['name']}, {age}", **told})
        return orjson.dumps({"clock": described["clock"], "patients": entries})


def personas() -> dict[str, Any]:
    """What personas.toml says."""
    return tomllib.loads((PERSONAS / "personas.toml").read_text(encoding="utf-8"))


def vocabulary(knowledge: Knowledge) -> dict[str, Any]:
    """What can be documented and ordered, with the codes by which the page knows it again in a chart."""
    codes: dict[str, list[str]] = {}
    for code in knowledge.codes:
        if code.match != "range":
            codes.setdefault(f"{code.system}|{code.code}", []).append(code.concept)
    meanings = {"yes": True, "no": False, "unknown": None}
    answers = {f"{code.system}|{code.code}": code for code in knowledge.answers}
    medicines = {
        code.display: {"system": code.system, "code": code.code, "display": code.display}
        for code in knowledge.codes
        if code.system == SYSTEMS["rxnorm"] and knowledge.findings[code.concept].kind == "medication"
    }
    return {
        "system": LOCAL_SYSTEM,
        "findings": [
            {
                "id": finding.id,
                "title": finding.title,
                "kind": finding.kind,
                "value": finding.value,
                "unit": finding.unit,
                "sided": not finding.whole_patient,
            }
            for finding in knowledge.findings.values()
        ],
        "codes": codes,
        "answers": {key: meanings[code.concept] for key, code in answers.items() if code.concept in meanings},
        "sides": {key: code.side for key, code in answers.items() if code.concept == "side"},
        "orders": [
            {"key": key, "title": template.title, "sided": template.sided, "sides": _by_side(knowledge, key)}
            for key, template in knowledge.orders.items()
        ],
        "medicines": [medicines[display] for display in sorted(medicines)],
    }


def _by_side(knowledge: Knowledge, key: str) -> dict[str, Any]:
    """What an order says of what and where, for each side."""
    now = datetime.now(UTC)
    made = {}
    for side in knowledge.wording.sides:
        ordering = Ordering("", "", side, now, (), ())
        request = service_request(knowledge.orders[key], "routine", ordering, knowledge.wording.sides)
        made[side] = {member: request[member] for member in request if member in ("code", "bodySite")}
    return made
