"""The EHR behind the page at `/`: a FHIR server and an authorization server for the charts that are open there.

It stands where the page stands, on loopback without a file of clients, so that the page of the second opinion can be
tried as an EHR launches it. A chart lies in a private folder for an hour, because every worker has to find it.
Specification: SMART App Launch 2.2, App Launch; RFC 7636; FHIR R4 RESTful API.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import orjson
from cryptography.fernet import Fernet, InvalidToken
from flask import Blueprint, Response, request

from cds_hooks.errors import BadRequest, Unauthorized, UnknownService
from cds_hooks.trust import TrustedClient
from service.access.clients import Client
from service.access.smart_app import SmartApp
from service.settings import AS_IT_IS

PATH = "/demo/ehr"
CLIENT_ID = "sitbone-page"
# In seconds: how long a chart lies there and a token is good, and how long a code is.
_HOUR, _MINUTE = 3_600, 60
_ID = re.compile(r"[0-9a-f-]{36}")
_SAVES = ("QuestionnaireResponse", "Observation")
_LARGEST = 1_000_000


class Charts:
    """The charts that are open, as files below a private folder; the id of one is that of its launch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "demo-charts"

    def open(self, chart: Mapping[str, Any]) -> str:
        """The id of a chart that was opened now; what was opened over an hour ago goes."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in self._folder.iterdir():
            if time.time() - file.stat().st_mtime > _HOUR:
                file.unlink(missing_ok=True)
        id_ = str(uuid4())
        self._write(id_, chart)
        return id_

    def get(self, id_: str) -> dict[str, Any] | None:
        """The chart of this id, None where there is none."""
        if not _ID.fullmatch(id_):
            return None
        try:
            found: dict[str, Any] = orjson.loads((self._folder / id_).read_bytes())
        except FileNotFoundError:
            return None
        return found

    def save(self, id_: str, chart: Mapping[str, Any], resource: Mapping[str, Any]) -> None:
        """One more resource on the chart."""
        self._write(id_, {**chart, "saved": [*chart["saved"], resource]})

    def first_use(self, issuer: str, jti: str, expires: float) -> bool:  # noqa: ARG002 - an hour is enough for all
        """Whether this is used for the first time; see second_opinion.routes.FirstUse."""
        name = hashlib.sha256(f"{issuer} {jti}".encode()).hexdigest()
        try:
            (self._folder / name).touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _write(self, id_: str, chart: Mapping[str, Any]) -> None:
        # In one step, for another worker may be reading.
        written = self._folder / f"{id_}.new"
        written.touch(mode=0o600)
        written.write_bytes(orjson.dumps(chart))
        written.replace(self._folder / id_)


def client(base_url: str) -> Client:
    """The EHR as a client of the service at this address; its app is the page of the second opinion."""
    iss, host = f"{base_url}{PATH}", urlsplit(base_url).hostname or ""
    kinds = (
        *("Condition", "Observation", "Encounter", "QuestionnaireResponse", "MedicationRequest"),
        *("MedicationStatement", "AllergyIntolerance", "ServiceRequest", "DiagnosticReport"),
    )
    scopes = ("launch", "patient/Patient.r", *(f"patient/{kind}.rs" for kind in kinds))
    app = SmartApp(
        iss=iss,
        client_id=CLIENT_ID,
        auth="public",
        # The page has the same address, or is called localhost.
        frame_origins=(base_url, f"http://localhost:{urlsplit(base_url).port}"),
        auth_hosts=frozenset({host}),
        scopes=(*scopes, *(f"patient/{kind}.c" for kind in _SAVES)),
        write=_SAVES,
        keys=(),
        secret="",
    )
    trusted = TrustedClient(CLIENT_ID, issuers=())
    return Client(trusted, None, (iss,), AS_IT_IS, frozenset({host}), False, frozenset(), app=app)


def create_blueprint(base_url: str, charts: Charts) -> Blueprint:
    """The routes below PATH. base_url: the address of the service."""
    server = _Server(base_url, charts)
    blueprint = Blueprint("demo_server", __name__)
    _add_authorization(blueprint, server)
    _add_fhir(blueprint, server, charts)

    @blueprint.post(f"{PATH}/charts")
    def open_chart() -> Response:
        """The page hands over the chart that it shows: what the launch is about."""
        request.max_content_length = _LARGEST
        given = _object(request.get_data(cache=False))
        patient, encounter, resources = given.get("patient"), given.get("encounter", ""), given.get("resources")
        if not isinstance(patient, str) or not isinstance(encounter, str) or not isinstance(resources, list):
            raise BadRequest("body: expected patient, encounter and resources, received something else.")
        chart = {"patient": patient, "encounter": encounter, "resources": resources, "saved": []}
        return _json({"iss": server.iss, "launch": charts.open(chart)})

    @blueprint.get(f"{PATH}/charts/<id_>/saved")
    def saved(id_: str) -> Response:
        """What was saved to the chart since the launch; the page takes it over."""
        return _json(server.chart(id_)["saved"])

    return blueprint


def _add_authorization(blueprint: Blueprint, server: _Server) -> None:
    @blueprint.get(f"{PATH}/.well-known/smart-configuration")
    def configuration() -> Response:
        return _json(
            {
                "issuer": server.iss,
                "authorization_endpoint": f"{server.iss}/authorize",
                "token_endpoint": f"{server.iss}/token",
                "code_challenge_methods_supported": ["S256"],
                "grant_types_supported": ["authorization_code"],
                "capabilities": ["launch-ehr", "client-public", "context-ehr-patient", "permission-v2"],
            }
        )

    @blueprint.get(f"{PATH}/authorize")
    def authorize() -> Response:
        return Response(status=302, headers={"Location": server.authorized(request.args)})

    @blueprint.post(f"{PATH}/token")
    def token() -> Response:
        return _json(server.token(request.form))


def _add_fhir(blueprint: Blueprint, server: _Server, charts: Charts) -> None:
    @blueprint.get(f"{PATH}/metadata")
    def metadata() -> Response:
        kinds = [{"type": kind, "interaction": [{"code": "create"}]} for kind in _SAVES]
        rest = [{"mode": "server", "resource": kinds}]
        return _json({"resourceType": "CapabilityStatement", "kind": "instance", "fhirVersion": "4.0.1", "rest": rest})

    @blueprint.get(f"{PATH}/<kind>")
    def search(kind: str) -> Response:
        """All resources of a type: the reader takes what it asked for."""
        chart = server.admitted(request.headers.get("Authorization", ""))[1]
        found = [each for each in _resources(chart) if each.get("resourceType") == kind]
        return _json({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": each} for each in found]})

    @blueprint.get(f"{PATH}/<kind>/<id_>")
    def read(kind: str, id_: str) -> Response:
        chart = server.admitted(request.headers.get("Authorization", ""))[1]
        for each in _resources(chart):
            if (each.get("resourceType"), each.get("id")) == (kind, id_):
                return _json(each)
        raise UnknownService("There is no such resource on this chart.")

    @blueprint.post(f"{PATH}/<kind>")
    def create(kind: str) -> Response:
        id_, chart = server.admitted(request.headers.get("Authorization", ""))
        request.max_content_length = _LARGEST
        resource = {**_object(request.get_data(cache=False)), "id": str(uuid4())}
        if kind not in _SAVES or resource.get("resourceType") != kind:
            raise BadRequest(f"body: expected one of {', '.join(_SAVES)}, as the path says, received another.")
        charts.save(id_, chart, resource)
        response = _json(resource)
        response.status_code = 201
        response.headers["Location"] = f"{server.iss}/{kind}/{resource['id']}"
        return response


class _Server:
    """The authorization server. A code and a token are the id of a chart, sealed for this start of the service."""

    def __init__(self, base_url: str, charts: Charts) -> None:
        self.iss, self._charts = f"{base_url}{PATH}", charts
        self._redirect_uri = f"{base_url}/app/callback/{CLIENT_ID}"
        self._seal = Fernet(Fernet.generate_key())

    def chart(self, id_: str) -> dict[str, Any]:
        """The chart of this id. Raises UnknownService."""
        found = self._charts.get(id_)
        if found is None:
            raise UnknownService("There is no such chart, or it was opened over an hour ago.")
        return found

    def authorized(self, given: Mapping[str, str]) -> str:
        """Where the browser is sent with a code: the page at hand has nobody to sign in. Raises BadRequest."""
        expected = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": self._redirect_uri,
            "aud": self.iss,
            "code_challenge_method": "S256",
        }
        for name, value in expected.items():
            if given.get(name) != value:
                raise BadRequest(f"{name}: expected {value}, received another or nothing.")
        chart = self.chart(given.get("launch", ""))
        grant = {
            "id": str(uuid4()),
            "chart": given["launch"],
            "patient": chart["patient"],
            "challenge": given.get("code_challenge", ""),
            "scope": given.get("scope", ""),
        }
        code = self._seal.encrypt(orjson.dumps(grant)).decode()
        answer = {"code": code, "state": given.get("state", ""), "iss": self.iss}
        return f"{self._redirect_uri}?{urlencode(answer)}"

    def token(self, given: Mapping[str, str]) -> dict[str, Any]:
        """The token for a code. Raises BadRequest."""
        grant = self._opened(given.get("code", ""), _MINUTE)
        digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        challenge = urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            grant is None
            or given.get("grant_type") != "authorization_code"
            or given.get("redirect_uri") != self._redirect_uri
            or not hmac.compare_digest(challenge, grant["challenge"])
        ):
            raise BadRequest("code: expected one of this server, with its verifier, received another or an old one.")
        chart = self.chart(grant["chart"])
        if not self._charts.first_use("code", grant["id"], _MINUTE):
            raise BadRequest("code: expected one that was not used before, received one that was.")
        encounter = {"encounter": chart["encounter"]} if chart["encounter"] else {}
        return {
            "access_token": self._seal.encrypt(orjson.dumps({"chart": grant["chart"]})).decode(),
            "token_type": "Bearer",
            "expires_in": _HOUR,
            "scope": grant["scope"],
            "patient": chart["patient"],
            **encounter,
        }

    def admitted(self, authorization: str) -> tuple[str, dict[str, Any]]:
        """The chart that a token opens, with its id. Raises Unauthorized, UnknownService."""
        access = self._opened(authorization.removeprefix("Bearer "), _HOUR)
        if access is None or "challenge" in access:
            raise Unauthorized("Authorization: expected a token of this server, received another, an old one or none.")
        return access["chart"], self.chart(access["chart"])

    def _opened(self, sealed: str, seconds: int) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = orjson.loads(self._seal.decrypt(sealed.encode(), ttl=seconds))
        except (InvalidToken, UnicodeEncodeError):
            return None
        return found


def _resources(chart: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [each for each in (*chart["resources"], *chart["saved"]) if isinstance(each, dict)]


def _object(body: bytes) -> dict[str, Any]:
    """The object that a body is. Raises BadRequest."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise BadRequest("body: expected a JSON object, received something else.")
    return found


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), content_type="application/json")
