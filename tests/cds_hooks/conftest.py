"""A toy server that greets patients: the protocol package is shown to work without any medicine."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import pytest
from flask import Flask
from flask.testing import FlaskClient
from msgspec.structs import force_setattr

from cds_hooks import (
    CallRecord,
    Card,
    CdsService,
    FeedbackRecord,
    HookRequest,
    HookResponse,
    Indicator,
    ServiceRegistry,
    ServiceUnavailable,
    Source,
    create_blueprint,
)
from cds_hooks.trust import ALGORITHMS, Directory, Gate, KeySource, Registration, TrustedClient
from cds_hooks.trust.signing import claims_for, key_set, new_key, sign

Body: TypeAlias = dict[str, Any]
CARD_UUID = "4ff60a8a-9a2c-4d28-8f0b-58a4a0ec6e05"


def greet(request: HookRequest) -> HookResponse:
    source = Source("Greetings")
    card = Card(uuid=CARD_UUID, summary=f"Hello from {request.hook}", indicator=Indicator.INFO, source=source)
    return HookResponse((card,))


def fall_over(request: HookRequest) -> HookResponse:
    raise RuntimeError(f"secret {request.patient_id}")


def be_busy(request: HookRequest) -> HookResponse:
    raise ServiceUnavailable("The service is restarting. Call again later.", retry_after=7)


def answer_badly(request: HookRequest) -> HookResponse:
    response = greet(request)
    force_setattr(response.cards[0], "summary", "secret " * 40)
    return response


def service(
    id_: str, hook: str = "patient-view", answer: Callable[[HookRequest], HookResponse] = greet, **extra: Any
) -> CdsService[HookResponse]:
    prefetch = {"patient": "Patient/{{context.patientId}}", "visits": "Encounter?patient={{context.patientId}}"}
    return CdsService(id_, hook, "Greeter", "Greets a patient", prefetch, answer, **extra)


@pytest.fixture
def greeter() -> CdsService[HookResponse]:
    return service("greeter")


@pytest.fixture
def registry() -> ServiceRegistry[HookResponse]:
    return ServiceRegistry(
        [
            service("greeter"),
            service("greeter", "encounter-start"),
            service("echo"),
            service("broken", answer=fall_over),
            service("busy", answer=be_busy),
            service("wrong", answer=answer_badly),
        ]
    )


@pytest.fixture
def reported() -> list[FeedbackRecord]:
    """What the feedback sink of `client` was given."""
    return []


@pytest.fixture
def calls() -> list[CallRecord[HookResponse]]:
    """What `on_call` of `client` was given."""
    return []


@pytest.fixture
def make_client(
    registry: ServiceRegistry[HookResponse], reported: list[FeedbackRecord], calls: list[CallRecord[HookResponse]]
) -> Callable[..., FlaskClient]:
    def make(*, url_prefix: str | None = None, **options: Any) -> FlaskClient:
        app = Flask("toy")
        blueprint = create_blueprint(
            registry,
            on_feedback=reported.append,
            on_call=calls.append,
            **options,
        )
        app.register_blueprint(blueprint, url_prefix=url_prefix)
        return app.test_client()

    return make


@pytest.fixture
def client(make_client: Callable[..., FlaskClient]) -> FlaskClient:
    return make_client()


@pytest.fixture
def body() -> Body:
    """A request as the specification wishes it; each test gets its own and spoils it."""
    return {
        "hook": "patient-view",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "fhirServer": "https://ehr.example.org/fhir",
        "fhirAuthorization": {
            "access_token": "very-secret",
            "token_type": "Bearer",
            "expires_in": 300,
            "scope": "user/Patient.read",
            "subject": "greeter",
        },
        "context": {"userId": "Practitioner/7", "patientId": "p1", "encounterId": "e1"},
        "prefetch": {"patient": {"resourceType": "Patient", "id": "p1"}, "visits": None},
    }


@pytest.fixture
def text(body: Body) -> Callable[..., bytes]:
    """The JSON of `body` with members changed, or left out where the new value is `...`."""

    def change(**members: Any) -> bytes:
        changed = {name: value for name, value in {**body, **members}.items() if value is not ...}
        return json.dumps(changed).encode()

    return change


NOW = 1_800_000_000.0
ISSUER = "https://ehr.example.org/"
JKU = "https://ehr.example.org/jwks.json"
BASE = "https://cds.example.org"
Keys: TypeAlias = Mapping[str, dict[str, Any]]


@pytest.fixture(scope="session")
def keys() -> Keys:
    """A private JWK for each algorithm; its kid is the algorithm in small letters."""
    return {algorithm: new_key(algorithm, algorithm.lower()) for algorithm in ALGORITHMS}


@pytest.fixture
def token(keys: Keys) -> Callable[..., str]:
    """A token for one call of the greeter, whose header and claims may be changed; `...` leaves a member out."""

    def make(
        algorithm: str = "ES384", *, header: Mapping[str, Any] | None = None, lifetime: int = 300, **claims: Any
    ) -> str:
        all_claims = claims_for(ISSUER, f"{BASE}/cds-services/greeter", NOW, lifetime=lifetime) | claims
        header = header or {}
        key = {name: member for name, member in keys[algorithm].items() if header.get(name) is not ...}
        # PyJWT leaves a typ out that is empty.
        changed = {
            name: "" if value is ... else value for name, value in header.items() if (name, value) != ("kid", ...)
        }
        return sign(key, {name: c for name, c in all_claims.items() if c is not ...}, **changed)

    return make


class Memory:
    """What the gate remembers, in a dictionary; `failing` raises instead."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], float] = {}
        self.counts: dict[tuple[str, int], int] = {}
        self.failing = False

    def first_use(self, issuer: str, jti: str, expires: float, issued: float) -> bool:
        if self.failing:
            raise ServiceUnavailable("store: expected an answer, received none.", retry_after=3)
        return self.seen.setdefault((issuer, jti), expires) is expires

    def within(self, client: str, window: int, limit: int) -> bool:
        self.counts[client, window] = self.counts.get((client, window), 0) + 1
        return self.counts[client, window] <= limit


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def make_gate(keys: Keys, memory: Memory) -> Callable[..., Gate]:
    """A gate for a client whose entry may be changed, and for a second one that has a key of the same kid."""

    def make(*, clock: Callable[[], float] = lambda: NOW, published: Any = None, **entry: Any) -> Gate:
        client = TrustedClient(**{"name": "general", "issuers": (ISSUER,), "jku": JKU, **entry})
        published = key_set(*keys.values()) if published is None else published
        other = new_key("ES384", "es384")
        return Gate(
            Directory(
                [
                    Registration(
                        client, KeySource(client.name, lambda: json.dumps(published).encode(), client.algorithms)
                    ),
                    Registration(
                        TrustedClient("other", ("https://other.example.org/",), "https://other.example.org/jwks.json"),
                        KeySource("other", lambda: json.dumps(key_set(other)).encode()),
                    ),
                ]
            ),
            memory,
            memory,
            clock=clock,
        )

    return make
