"""The client's half of SMART App Launch with one authorization server: discovery, authorization, tokens, their end.

Only endpoints whose hosts the client's entry lists are called or sent to, by https, with the guard of
cds_hooks.outbound. Nothing that a server answers is repeated anywhere.
Specification: SMART App Launch 2.2, App Launch; Client Authentication: Asymmetric and Symmetric; OpenID Connect Core,
ID Token Validation; RFC 7636; RFC 9207; RFC 7009.
"""

from __future__ import annotations

import hashlib
import re
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode, urlsplit

import jwt
import msgspec

from cds_hooks.errors import ServiceUnavailable
from cds_hooks.json_text import UNREADABLE
from cds_hooks.outbound import Fetched, OutboundError, fetch, send
from cds_hooks.text_forms import is_loopback
from cds_hooks.trust import ALGORITHMS, KeySource, load_from
from cds_hooks.trust.keys import KeyRefusedError
from cds_hooks.trust.signing import claims_for, sign
from service.access.clients import Client
from service.second_opinion import refusals
from service.second_opinion.refusals import Refused

DISCOVERY = "/.well-known/smart-configuration"
_JSON = "application/json"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# In seconds: what is waited for an answer, how long what a server says of itself is kept, how long an assertion lives,
# and how far the clocks of an id_token may be apart.
_PATIENCE, _KEPT, _ASSERTION_LIFE, _SKEW = 5.0, 600.0, 240, 60
_LARGEST = 262_144
_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(/[!-~]*)?")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,16000}")
_ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,256}")
_USER = re.compile(r"(?:^|/)((?:Practitioner|PractitionerRole|Patient|RelatedPerson|Person)/[A-Za-z0-9.-]{1,256})$")
_LONGEST_TOKEN = 3600.0


class _Configuration(msgspec.Struct, frozen=True, gc=False):
    """The members of a smart-configuration that are read."""

    authorization_endpoint: str
    token_endpoint: str
    code_challenge_methods_supported: list[str]
    issuer: str = ""
    jwks_uri: str = ""
    revocation_endpoint: str = ""


class _TokenResponse(msgspec.Struct, frozen=True, gc=False):
    access_token: str
    token_type: str
    expires_in: float | str | None = None
    scope: str | None = None
    patient: str | None = None
    encounter: str | None = None
    id_token: str | None = None
    refresh_token: str | None = None


_CONFIGURATION = msgspec.json.Decoder(_Configuration)
_TOKENS = msgspec.json.Decoder(_TokenResponse)


@dataclass(frozen=True, slots=True)
class Access:
    """What a token response gives; `ends` in seconds since 1970. `patient` is empty where it names none."""

    token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    scope: str
    ends: float
    patient: str = field(repr=False)
    encounter: str = field(repr=False)
    user: str = field(repr=False)


class SmartClient:
    """One client's app at its authorization server; `redirect_uri` is the app's, `clock` gives seconds since 1970."""

    def __init__(self, client: Client, redirect_uri: str, clock: Callable[[], float]) -> None:
        if client.app is None:
            raise ValueError("the client has no app")
        self.client, self.app, self.redirect_uri = client, client.app, redirect_uri
        self.name = client.trusted.name
        self._clock = clock
        self._known: tuple[float, _Configuration] | None = None
        self._keys: tuple[str, KeySource] | None = None

    # -- authorization ------------------------------------------------------------------------------------------------

    def authorization_url(self, launch: str, state: str, verifier: str, nonce: str) -> str:
        """Where the browser is sent to. Raises Refused."""
        endpoint = self._configuration().authorization_endpoint
        digest = hashlib.sha256(verifier.encode()).digest()
        parameters = {
            "response_type": "code",
            "client_id": self.app.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": " ".join(self.app.scopes),
            "state": state,
            "aud": self.app.iss,
            "launch": launch,
            "code_challenge": urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
            "nonce": nonce,
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters, quote_via=quote)}"

    def is_issuer(self, issuer: str) -> bool:
        """Whether the `iss` beside a code is that of this server (RFC 9207)."""
        return issuer == self._configuration().issuer

    # -- tokens -------------------------------------------------------------------------------------------------------

    def redeem(self, code: str, verifier: str, nonce: str) -> Access:
        """The access that a code stands for. Raises Refused."""
        given = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier}
        tokens = self._tokens({**given, "redirect_uri": self.redirect_uri})
        scope = self._scope(tokens)
        user = ""
        if tokens.id_token is not None:
            user = self._user(tokens.id_token, nonce)
        elif "openid" in scope.split():
            raise Refused(refusals.WRONG_IDENTITY)
        return self._access(tokens, scope, user)

    def refresh(self, refresh_token: str) -> Access:
        """New access, for an old one that is over. Raises Refused."""
        tokens = self._tokens({"grant_type": "refresh_token", "refresh_token": refresh_token})
        return self._access(tokens, tokens.scope or "", "")

    def revoke(self, token: str) -> None:
        """Have the server forget a token, where it can; whatever comes of it, nothing is kept here."""
        try:
            if endpoint := self._configuration().revocation_endpoint:
                self._post(endpoint, {"token": token})
        except (OutboundError, Refused):
            return

    def _scope(self, tokens: _TokenResponse) -> str:
        """What was granted; what was asked for, where the server does not say."""
        return " ".join(self.app.scopes) if tokens.scope is None else tokens.scope

    def _tokens(self, parameters: Mapping[str, str]) -> _TokenResponse:
        try:
            answer = self._post(self._configuration().token_endpoint, parameters)
            if answer.status != 200:
                raise Refused(refusals.NO_TOKEN)
            tokens = _TOKENS.decode(answer.body)
        except (OutboundError, *UNREADABLE):
            raise Refused(refusals.NO_TOKEN) from None
        refresh_token = tokens.refresh_token or ""
        sound = _TOKEN.fullmatch(tokens.access_token) and (not refresh_token or refresh_token.isprintable())
        if not sound or tokens.token_type.lower() != "bearer":
            raise Refused(refusals.NO_TOKEN)
        return tokens

    def _access(self, tokens: _TokenResponse, scope: str, user: str) -> Access:
        ids = {name: getattr(tokens, name) or "" for name in ("patient", "encounter")}
        if any(id_ and not _ID.fullmatch(id_) for id_ in ids.values()):
            raise Refused(refusals.NO_PATIENT)
        return Access(
            tokens.access_token, tokens.refresh_token or "", scope, self._clock() + _lifetime(tokens), **ids, user=user
        )

    def _post(self, url: str, parameters: Mapping[str, str]) -> Fetched:
        """A form, with what this client authenticates by. Raises OutboundError."""
        headers = {"Accept": _JSON, "Content-Type": "application/x-www-form-urlencoded"}
        internal = self.client.may_be_internal(url)
        return send(
            url,
            urlencode({**parameters, **self._authentication(url, headers)}).encode(),
            headers=headers,
            deadline=_PATIENCE,
            max_bytes=_LARGEST,
            allow_internal=internal,
            allow_http=internal,
        )

    def _authentication(self, url: str, headers: dict[str, str]) -> Mapping[str, str]:
        """The parameters by which this client is known; a secret goes into the headers."""
        app = self.app
        if app.auth == "public":
            return {"client_id": app.client_id}
        if app.auth == "client_secret_basic":
            # Specification: RFC 6749, 2.3.1: both are form-encoded first.
            pair = f"{quote(app.client_id, safe='')}:{quote(app.secret, safe='')}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
            return {}
        # Signed for this one call: its jti is fresh, and it is never sent again.
        claims = claims_for(app.client_id, url, self._clock(), lifetime=_ASSERTION_LIFE, sub=app.client_id)
        return {"client_assertion_type": _ASSERTION, "client_assertion": sign(app.keys[0], claims)}

    # -- who is signed in ---------------------------------------------------------------------------------------------

    def _user(self, id_token: str, nonce: str) -> str:
        """The user, as a reference to a FHIR resource; empty where the server does not say. Raises Refused."""
        configuration = self._configuration()
        try:
            header = jwt.get_unverified_header(id_token)
            kid, algorithm = header.get("kid"), header.get("alg")
            named = kid is None or isinstance(kid, str)
            if not configuration.issuer or algorithm not in ALGORITHMS or not named:
                raise Refused(refusals.WRONG_IDENTITY)
            keys = self._key_source(configuration.jwks_uri)
            claims = jwt.decode(
                id_token,
                key=(keys.only(algorithm) if kid is None else keys.find(kid, algorithm)).public,
                algorithms=[algorithm],
                audience=self.app.client_id,
                issuer=configuration.issuer,
                leeway=_SKEW,
                options={"require": ["exp", "iat", "aud", "iss", "sub"], "verify_exp": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, KeyRefusedError, ServiceUnavailable):
            raise Refused(refusals.WRONG_IDENTITY) from None
        # By the clock of this service, which tests hold still.
        expires = claims["exp"]
        if not isinstance(expires, int | float) or expires <= self._clock() - _SKEW or claims.get("nonce") != nonce:
            raise Refused(refusals.WRONG_IDENTITY)
        found = _USER.search(str(claims.get("fhirUser") or claims.get("profile") or ""))
        return found[1] if found else ""

    def _key_source(self, url: str) -> KeySource:
        if not self._is_allowed(url):
            raise Refused(refusals.WRONG_IDENTITY)
        if self._keys is None or self._keys[0] != url:
            internal = self.client.may_be_internal(url)
            source = KeySource(f"{self.name}.app", lambda: load_from(url, allow_internal=internal), ALGORITHMS)
            self._keys = url, source
        return self._keys[1]

    # -- discovery ----------------------------------------------------------------------------------------------------

    def _configuration(self) -> _Configuration:
        """What the server says of itself, as long as it may be used. Raises Refused."""
        known, now = self._known, time.monotonic()
        if known is None or now - known[0] > _KEPT:
            known = self._known = now, self._discovered()
        return known[1]

    def _discovered(self) -> _Configuration:
        url = self.app.iss + DISCOVERY
        internal = self.client.may_be_internal(url)
        try:
            answer = fetch(
                url,
                headers={"Accept": _JSON},
                deadline=_PATIENCE,
                max_bytes=_LARGEST,
                allow_internal=internal,
                allow_http=internal,
            )
            if answer.status != 200:
                raise Refused(refusals.NO_DISCOVERY)
            found = _CONFIGURATION.decode(answer.body)
        except (OutboundError, *UNREADABLE):
            raise Refused(refusals.NO_DISCOVERY) from None
        endpoints = (found.authorization_endpoint, found.token_endpoint, found.revocation_endpoint, found.jwks_uri)
        if "S256" not in found.code_challenge_methods_supported or not all(
            self._is_allowed(url) for url in endpoints if url
        ):
            raise Refused(refusals.NO_DISCOVERY)
        return found

    def _is_allowed(self, url: str) -> bool:
        """Whether an endpoint may be used: at a listed host, by https; by http only where the client's FHIR server is
        read so, on a loopback address."""
        try:
            parts = urlsplit(url)
            host, _port = parts.hostname or "", parts.port
        except ValueError:
            return False
        if not _URL.fullmatch(url) or parts.username is not None or "#" in url or host not in self.app.auth_hosts:
            return False
        return parts.scheme == "https" or (self.client.may_be_internal(url) and is_loopback(host))


def _lifetime(tokens: _TokenResponse) -> float:
    """For how many seconds an access token is good; an hour at most, and as long where the server does not say."""
    try:
        return min(max(float(tokens.expires_in or _LONGEST_TOKEN), 0.0), _LONGEST_TOKEN)
    except ValueError:
        return _LONGEST_TOKEN
