"""The page at `/`: a small EHR in the browser. A clinician sees the cards in it before an EHR team has written a line.

It calls discovery, the services and feedback as any CDS client does. What is served here beside its files is data that
an EHR has of its own: made-up patients, the findings that can be documented, the orders that can be placed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
from flask import Blueprint, Response, render_template, request

from cds_hooks.errors import UnknownService
from service.answers.orders import Ordering, service_request
from service.knowledge_model.model import LOCAL_SYSTEM, Knowledge
from service.knowledge_model.vocabulary import SYSTEMS
from service.services.explanation import Explainer, as_dict

# Where the made-up patients lie in a checkout; an installed package has none, and the page starts with an empty chart.
PATIENTS = Path(__file__).parents[2] / "fixtures"
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def create_blueprint(
    knowledge: Knowledge, explainer: Explainer | None, body_limit: int, patients: Path = PATIENTS
) -> Blueprint:
    """`/`, its files under `/demo/files/`, its data: `/demo/patients`, `/demo/patients/<name>`, `/demo/vocabulary`; and
    `/explain/<service id>`, the whole decision about a request of at most `body_limit` bytes.

    Without an `explainer` the page tells what stands on the cards. `patients` is a folder as fixtures/README.md
    describes it; it is read once, when the page is first asked for, and may be missing.
    """
    made_up = _Patients(patients)
    described = orjson.dumps(vocabulary(knowledge))
    files = {path.name: path.read_bytes() for path in (Path(__file__).parent / "static").iterdir()}
    blueprint = Blueprint("demo", __name__, template_folder=".")

    @blueprint.get("/")
    def page() -> str:
        return render_template(
            "demo_ehr.html",
            title=knowledge.title,
            version=knowledge.version,
            draft=knowledge.status == "draft",
            explains=bool(explainer),
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
        response.headers.update(HEADERS)
        return response

    return blueprint


class _Patients:
    """The made-up patients of a folder, each read when one is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def requests(self) -> Mapping[str, bytes]:
        """Name -> body."""
        return dict(_requests(self._folder / "requests"))

    @cached_property
    def listed(self) -> bytes:
        """What the page chooses from."""
        entries = sorted(
            (_listing(name, *each) for name, each in _examples(self._folder, self.requests)),
            key=lambda each: (each["group"], each["title"]),
        )
        return orjson.dumps({"clock": _clock(self._folder), "patients": entries})


def _requests(folder: Path) -> Iterator[tuple[str, bytes]]:
    """name -> body of each request; in a subfolder lie those of the service of its name."""
    for path in sorted(folder.rglob("*.json")):
        yield path.relative_to(folder).with_suffix("").as_posix(), path.read_bytes()


def _clock(folder: Path) -> str:
    """The time at which the requests were made; the page moves their dates to today."""
    path = folder / "clock.txt"
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def _examples(folder: Path, requests: Mapping[str, bytes]) -> Iterator[tuple[str, tuple[bytes, str, str]]]:
    """Each request with the sentence of its case and the file of cases that holds it."""
    sentences = {}
    for path in sorted((folder / "cases").glob("*.toml")):
        for sentence, case in tomllib.loads(path.read_text(encoding="utf-8")).items():
            if "fixture" in case:
                sentences[case["fixture"]] = (sentence, path.stem)
    for name, body in requests.items():
        sentence, file = sentences.get(name, ("", ""))
        yield name, (body, sentence, file)


def _listing(name: str, body: bytes, sentence: str, file: str) -> dict[str, str]:
    service, _, last = name.rpartition("/")
    return {
        "name": name,
        "title": last.replace("-", " ").capitalize(),
        "sentence": sentence,
        "service": service,
        "group": (file or service or "other").replace("_", " ").replace("-", " ").capitalize(),
        "hook": orjson.loads(body)["hook"],
    }


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
