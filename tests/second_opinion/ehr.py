"""An EHR on the loopback address for the tests of the second opinion: an authorization server, built with Authlib, and
a FHIR server with the chart of a fixture.

PKCE and `aud` are required, codes are good for one use, and each way in which the two can fail is a switch.
Specification: SMART App Launch 2.2; FHIR R4, RESTful API.
"""

import json
import logging
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlencode

import jwt
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from authlib.oauth2.rfc7636 import CodeChallenge
from flask import Flask, Response, request
from joserfc.jwk import KeySet
from werkzeug.serving import make_server

from cds_hooks.trust.signing import key_set, new_key, sign

LAUNCH = "launch-of-the-test"
SECRET = "client-secret:of/the+test"  # noqa: S105 - nobody's
USER = "Practitioner/4451"
_LIFETIME = 600


@cache
def _key() -> dict[str, Any]:
    """Made once, and only where an EHR is: RSA takes a second, and every process collects all tests."""
    return new_key("RS384", "of-the-ehr")


@dataclass
class Faults:
    """What goes wrong. `answers`: of a method and a FHIR type, the statuses of the next answers; `lost`: the resource
    is created and the answer never arrives."""

    discovery: dict[str, Any] = field(default_factory=dict)
    discovery_status: int = 200
    redirects_discovery: bool = False
    denies: bool = False
    token: dict[str, Any] = field(default_factory=dict)
    id_token: dict[str, Any] = field(default_factory=dict)
    id_token_key: dict[str, Any] | None = None
    unsigned: bool = False
    # The id_token names no key, and so many others stand beside it in the set.
    without_kid: bool = False
    other_keys: tuple[dict[str, Any], ...] = ()
    scope: Callable[[str], str] = str
    expired: bool = False
    lifetime: int = _LIFETIME
    answers: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    lost: int = 0
    seconds: float = 0.0


class _Client(ClientMixin):  # type: ignore[misc]
    def __init__(self, ehr: "Ehr", client_id: str, method: str) -> None:
        self.ehr, self.client_id, self.method = ehr, client_id, method

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        return self.ehr.redirect_uri

    def get_allowed_scope(self, scope: str) -> str:
        return self.ehr.faults.scope(scope)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == self.ehr.redirect_uri

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        assert endpoint in ("token", "revocation")
        return method == self.method

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in ("authorization_code", "refresh_token")


@dataclass
class _Code:
    code: str
    redirect_uri: str
    scope: str
    nonce: str
    code_challenge: str
    code_challenge_method: str

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope


@dataclass
class _Token(TokenMixin):  # type: ignore[misc]
    client_id: str
    scope: str
    patient: str

    def check_client(self, client: _Client) -> bool:
        return client.client_id == self.client_id

    def get_scope(self) -> str:
        return self.scope

    def get_expires_in(self) -> int:
        return _LIFETIME

    def is_expired(self) -> bool:
        return False

    def is_revoked(self) -> bool:
        return False


class Ehr:
    """Both servers, at `base`; the FHIR base URL is `iss`. `asked` are method and path of each call."""

    def __init__(self, chart: Mapping[str, Any]) -> None:
        self.base = ""
        self.redirect_uri = ""
        self.faults = Faults()
        self.asked: list[str] = []
        self.authorizations: list[dict[str, list[str]]] = []
        self.token_requests: list[dict[str, str]] = []
        self.tokens: dict[str, _Token] = {}
        self.refresh_tokens: dict[str, _Token] = {}
        self.revoked: list[str] = []
        self.seen_jti: set[str] = set()
        self.key = _key()
        self.app_keys: Any = {"keys": []}
        self.clients = {
            "private": _Client(self, "private", "client_assertion_jwt"),
            "secret": _Client(self, "secret", "client_secret_basic"),
            "public": _Client(self, "public", "none"),
        }
        self._codes: dict[str, _Code] = {}
        self.writable = {"QuestionnaireResponse", "Observation", "DocumentReference", "ServiceRequest"}
        self.patient = chart["context"]["patientId"]
        self.encounter = chart["context"].get("encounterId", "")
        self.resources: dict[str, dict[str, Any]] = {}
        self.created: list[str] = []
        self._lock = threading.Lock()
        self.take(chart)
        self.app = self._flask()

    @property
    def iss(self) -> str:
        return f"{self.base}/fhir"

    def take(self, chart: Mapping[str, Any]) -> None:
        """The resources of a request's prefetch."""
        for value in chart["prefetch"].values():
            entries = [value] if value and value["resourceType"] != "Bundle" else (value or {}).get("entry", ())
            for entry in entries:
                resource = entry.get("resource", entry)
                self.resources[f"{resource['resourceType']}/{resource['id']}"] = resource

    def saved(self, kind: str) -> list[dict[str, Any]]:
        return [self.resources[reference] for reference in self.created if reference.startswith(f"{kind}/")]

    # -- authorization ------------------------------------------------------------------------------------------------

    def configuration(self) -> dict[str, Any]:
        found = {
            "issuer": self.base,
            "jwks_uri": f"{self.base}/jwks",
            "authorization_endpoint": f"{self.base}/authorize",
            "token_endpoint": f"{self.base}/token",
            "revocation_endpoint": f"{self.base}/revoke",
            "code_challenge_methods_supported": ["S256"],
            "capabilities": ["launch-ehr", "client-confidential-asymmetric", "sso-openid-connect", "permission-v2"],
        }
        return {name: value for name, value in {**found, **self.faults.discovery}.items() if value is not None}

    def _issued(self, client: _Client, scope: str) -> dict[str, Any]:
        """A token, and what comes with it."""
        token = _Token(client.client_id, scope, self.patient)
        access, refresh = f"access-{secrets.token_urlsafe(24)}", f"refresh-{secrets.token_urlsafe(24)}"
        self.tokens[access] = token
        found: dict[str, Any] = {
            "token_type": "Bearer",
            "access_token": access,
            "expires_in": self.faults.lifetime,
            "scope": scope,
            "patient": self.patient,
            "encounter": self.encounter,
            "need_patient_banner": True,
        }
        if "online_access" in scope.split():
            self.refresh_tokens[refresh] = token
            found["refresh_token"] = refresh
        return {name: value for name, value in {**found, **self.faults.token}.items() if value is not None}

    def id_token(self, client_id: str, nonce: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.base,
            "sub": "someone",
            "aud": client_id,
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "fhirUser": f"{self.iss}/{USER}",
            **self.faults.id_token,
        }
        if self.faults.unsigned:
            return jwt.encode(claims, "", algorithm="none", headers={"kid": self.key["kid"]})
        key = self.faults.id_token_key or self.key
        if self.faults.without_kid:
            return jwt.encode(claims, jwt.PyJWK(key).key, algorithm=key["alg"])
        return sign(key, claims)

    def _flask(self) -> Flask:  # noqa: C901, PLR0915 - one server, whose routes share what is around them
        app, ehr = Flask("ehr"), self
        app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = False
        server = AuthorizationServer(app, query_client=self.clients.get, save_token=lambda _token, _request: None)
        server.register_token_generator(
            "default", lambda grant_type, client, user, scope, **_: ehr._issued(client, scope or "")
        )

        class CodeGrant(grants.AuthorizationCodeGrant):  # type: ignore[misc]
            TOKEN_ENDPOINT_AUTH_METHODS = ("client_assertion_jwt", "client_secret_basic", "none")

            def save_authorization_code(self, code: str, given: Any) -> None:
                data = given.payload.data
                ehr._codes[code] = _Code(
                    code,
                    given.payload.redirect_uri,
                    ehr.faults.scope(given.payload.scope),
                    data.get("nonce", ""),
                    data.get("code_challenge", ""),
                    data.get("code_challenge_method", ""),
                )

            def query_authorization_code(self, code: str, client: _Client) -> _Code | None:
                assert client
                return ehr._codes.get(code)

            def delete_authorization_code(self, authorization_code: _Code) -> None:
                del ehr._codes[authorization_code.code]

            def authenticate_user(self, authorization_code: _Code) -> str:
                assert authorization_code
                return USER

            def create_token_response(self) -> Any:
                code: _Code = self.request.authorization_code
                status, body, headers = super().create_token_response()
                if "openid" in code.scope.split():
                    body["id_token"] = ehr.id_token(self.request.client.client_id, code.nonce)
                return status, {name: value for name, value in body.items() if value is not None}, headers

        class RefreshGrant(grants.RefreshTokenGrant):  # type: ignore[misc]
            TOKEN_ENDPOINT_AUTH_METHODS = CodeGrant.TOKEN_ENDPOINT_AUTH_METHODS
            INCLUDE_NEW_REFRESH_TOKEN = True

            def authenticate_refresh_token(self, refresh_token: str) -> _Token | None:
                # It is good for one use: a new one takes its place.
                return ehr.refresh_tokens.pop(refresh_token, None)

            def authenticate_user(self, refresh_token: _Token) -> str:
                assert refresh_token
                return USER

            def revoke_old_credential(self, refresh_token: _Token) -> None:
                assert refresh_token

        class Assertion(JWTBearerClientAssertion):  # type: ignore[misc]
            def get_audiences(self) -> list[str]:
                return [f"{ehr.base}/token", f"{ehr.base}/revoke"]

            def validate_jti(self, claims: Mapping[str, Any], jti: str) -> bool:
                assert claims["exp"] - claims["iat"] <= 300
                fresh = jti not in ehr.seen_jti
                ehr.seen_jti.add(jti)
                return fresh

            def resolve_client_public_key(self, client: _Client) -> KeySet:
                assert client
                return KeySet.import_key_set(ehr.app_keys)

            def process_assertion_claims(self, assertion: str, resolve_key: Any) -> Any:
                from joserfc import jwt as jose  # noqa: PLC0415

                token = jose.decode(assertion, resolve_key, algorithms=["RS384", "ES384"])
                assert token.header["typ"] == "JWT"
                self.verify_claims(token.claims)
                return token.claims

        class Revocation(RevocationEndpoint):  # type: ignore[misc]
            CLIENT_AUTH_METHODS = CodeGrant.TOKEN_ENDPOINT_AUTH_METHODS

            def query_token(self, token_string: str, token_type_hint: str) -> _Token | None:
                assert not token_type_hint
                ehr.revoked.append(token_string)
                return ehr.tokens.pop(token_string, None) or ehr.refresh_tokens.pop(token_string, None)

            def revoke_token(self, token: _Token, request: Any) -> None:
                assert token
                assert request

        class OnlyS256(CodeChallenge):  # type: ignore[misc]
            SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

        server.register_grant(CodeGrant, [OnlyS256(required=True)])
        server.register_grant(RefreshGrant)
        server.register_client_auth_method(Assertion.CLIENT_AUTH_METHOD, Assertion())
        server.register_endpoint(Revocation)

        @app.before_request
        def note() -> None:
            ehr.asked.append(f"{request.method} {request.path}")
            time.sleep(ehr.faults.seconds)

        @app.get("/fhir/.well-known/smart-configuration")
        def discovery() -> Response:
            if ehr.faults.redirects_discovery:
                return Response(status=302, headers={"Location": f"{ehr.base}/elsewhere"})
            body = json.dumps(ehr.configuration())
            return Response(body, status=ehr.faults.discovery_status, mimetype="application/json")

        @app.get("/jwks")
        def jwks() -> dict[str, Any]:
            return key_set(ehr.key, *ehr.faults.other_keys)

        @app.get("/authorize")
        def authorize() -> Any:
            ehr.authorizations.append(request.args.to_dict(flat=False))
            given = request.args
            if given.get("aud") != ehr.iss or given.get("launch") != LAUNCH or not given.get("code_challenge"):
                return Response("aud, launch or code_challenge is wrong", status=400)
            if ehr.faults.denies:
                query = urlencode({"error": "access_denied", "state": given["state"]})
                return Response(status=302, headers={"Location": f"{ehr.redirect_uri}?{query}"})
            try:
                grant = server.get_consent_grant(end_user=USER)
            except OAuth2Error as problem:
                return Response(str(problem), status=400)
            return server.create_authorization_response(grant_user=USER, grant=grant)

        @app.post("/token")
        def token() -> Any:
            ehr.token_requests.append(request.form.to_dict())
            return server.create_token_response()

        @app.post("/revoke")
        def revoke() -> Any:
            return server.create_endpoint_response("revocation")

        # -- FHIR -----------------------------------------------------------------------------------------------------

        def refused(kind: str) -> Response | None:
            planned = ehr.faults.answers.get((request.method, kind), [])
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            status = planned.pop(0) if planned else 200
            if status == 200 and (ehr.faults.expired or given not in ehr.tokens):
                status = 401
            return None if status == 200 else Response("{}", status=status, mimetype="application/fhir+json")

        def fhir(body: Mapping[str, Any], status: int = 200) -> Response:
            return Response(json.dumps(body), status=status, mimetype="application/fhir+json")

        @app.get("/fhir/metadata")
        def metadata() -> Response:
            kinds = [
                {"type": kind, "interaction": [{"code": "create"}, {"code": "search-type"}]}
                for kind in sorted(ehr.writable)
            ]
            return fhir({"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "resource": kinds}]})

        @app.get("/fhir/<kind>/<id_>")
        def read(kind: str, id_: str) -> Response:
            found = ehr.resources.get(f"{kind}/{id_}")
            return refused(kind) or (fhir(found) if found else fhir({"resourceType": "OperationOutcome"}, 404))

        @app.get("/fhir/<kind>")
        def search(kind: str) -> Response:
            if problem := refused(kind):
                return problem
            wanted, patient = request.args.get("identifier"), f"Patient/{request.args.get('patient')}"
            others = {reference for reference in list(ehr.resources) if reference.startswith("Patient/")} - {patient}
            found = [
                resource
                for reference, resource in list(ehr.resources.items())
                if reference.startswith(f"{kind}/")
                and (not wanted or wanted in _identifiers(resource))
                and (resource.get("subject") or resource.get("patient") or {}).get("reference") not in others
            ]
            entries = [{"resource": resource} for resource in found]
            return fhir({"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries})

        @app.post("/fhir/<kind>")
        def create(kind: str) -> Response:
            if problem := refused(kind):
                return problem
            resource = request.get_json(force=True)
            with ehr._lock:
                reference = f"{kind}/new-{len(ehr.created) + 1}"
                ehr.created.append(reference)
                ehr.resources[reference] = {**resource, "id": reference.partition("/")[2]}
            if ehr.faults.lost:
                ehr.faults.lost -= 1
                request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            response = fhir(ehr.resources[reference], 201)
            response.headers["Location"] = f"{ehr.iss}/{reference}/_history/1"
            return response

        return app

    @contextmanager
    def running(self, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator["Ehr"]:
        """Serve at an address of the loopback; its name is `host`."""
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = make_server("127.0.0.1", 0, self.app, threaded=True, ssl_context=context)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        self.base = f"{'https' if context else 'http'}://{host}:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _identifiers(resource: Mapping[str, Any]) -> list[str]:
    named = resource.get("identifier", [])
    return [f"{one['system']}|{one['value']}" for one in (named if isinstance(named, list) else [named])]
