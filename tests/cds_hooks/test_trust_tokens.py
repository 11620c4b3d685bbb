"""What a token must be: each way in which it can fail to, as one row."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from jwt import PyJWK
from jwt.api_jws import encode

from cds_hooks.trust import ALGORITHMS, Call, Caller, Check, Gate, examine
from cds_hooks.trust.signing import claims_for, key_set, new_key, sign
from cds_hooks.trust.tokens import canonical

NOW = 1_800_000_000.0
ISSUER = "https://ehr.example.org/"
JKU = "https://ehr.example.org/jwks.json"
URL = "https://cds.example.org/cds-services/greeter"
CALL = Call((URL,), "greeter")
MakeToken = Callable[..., str]
MakeGate = Callable[..., Gate]


def examined(token: str, gate: Gate, call: Call = CALL, now: float = NOW) -> tuple[list[Check], Caller | None]:
    examination = examine(token, gate.directory, call, now)
    checks = []
    while True:
        try:
            checks.append(next(examination))
        except StopIteration as end:
            return checks, end.value


def failed(token: str, gate: Gate, call: Call = CALL, now: float = NOW) -> list[str]:
    checks, caller = examined(token, gate, call, now)
    names = [check.name for check in checks if not check.passed]
    assert (caller is None) == bool(names)
    return names


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def raw_token(header: Mapping[str, Any] | str, claims: Mapping[str, Any] | str, signature: bytes = b"x") -> str:
    texts = (part if isinstance(part, str) else json.dumps(part) for part in (header, claims))
    return ".".join([*(encoded(text.encode()) for text in texts), encoded(signature)])


def signed_text(key: Mapping[str, Any], claims: str) -> str:
    """A token over claims that are not JSON that a library would write."""
    return encode(claims.encode(), PyJWK(dict(key)), algorithm="ES384", headers={"kid": key["kid"]})


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
def test_the_algorithms_of_the_specification_are_accepted(
    algorithm: str, token: MakeToken, make_gate: MakeGate
) -> None:
    checks, caller = examined(token(algorithm, tenant="t1", sub="Practitioner/7"), make_gate())

    assert all(check.passed for check in checks)
    assert caller is not None
    assert (caller.client.name, caller.issuer, caller.tenant, caller.subject) == (
        "general",
        ISSUER,
        "t1",
        "Practitioner/7",
    )
    assert caller.expires == NOW + 360
    assert caller.notes == ()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "PS384"])
def test_other_algorithms_are_accepted_where_the_client_entry_lists_them(
    algorithm: str, token: MakeToken, make_gate: MakeGate
) -> None:
    assert failed(token(algorithm), make_gate()) == ["alg"]
    assert failed(token(algorithm), make_gate(algorithms=(algorithm,))) == []
    assert failed(token("ES384"), make_gate(algorithms=(algorithm,))) == ["alg"]


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "", "HS256", "HS384", "HS512", "EdDSA", "ES512", None, 1]
)
def test_every_other_algorithm_is_refused_whatever_the_entry_says(algorithm: object, make_gate: MakeGate) -> None:
    claims = claims_for(ISSUER, URL, NOW)
    unsigned = raw_token({"alg": algorithm, "typ": "JWT", "kid": "es384"}, claims, b"")
    assert failed(unsigned, make_gate()) == ["alg"]
    assert failed(unsigned, make_gate(algorithms=("HS256", "none", "ES384")))


def test_a_token_without_an_algorithm_is_refused(make_gate: MakeGate) -> None:
    assert failed(raw_token({"typ": "JWT", "kid": "es384"}, claims_for(ISSUER, URL, NOW)), make_gate()) == ["alg"]


@pytest.mark.parametrize("secret", ["jwk", "pem", "empty"])
def test_a_public_key_is_no_secret_for_an_hmac(
    secret: str, keys: Mapping[str, dict[str, Any]], make_gate: MakeGate
) -> None:
    public = key_set(keys["ES384"])["keys"][0]
    secrets = {"jwk": json.dumps(public).encode(), "pem": public["x"].encode(), "empty": b""}
    head = raw_token({"alg": "HS384", "typ": "JWT", "kid": "es384"}, claims_for(ISSUER, URL, NOW)).rpartition(".")[0]
    mac = hmac.new(secrets[secret], head.encode(), hashlib.sha384).digest()
    assert failed(f"{head}.{encoded(mac)}", make_gate(algorithms=("ES384", "HS384"))) == ["key"]
    assert failed(f"{head}.{encoded(mac)}", make_gate()) == ["alg"]


@pytest.mark.parametrize(
    ("header", "check"),
    [
        ({"typ": "at+jwt"}, "typ"),
        ({"typ": "JWE"}, "typ"),
        ({"kid": ...}, "kid"),
        ({"kid": ""}, "kid"),
        ({"kid": "k" * 257}, "kid"),
        ({"kid": "unknown"}, "key"),
        ({"kid": "rs384"}, "key"),
        ({"kid": "es256"}, "key"),
        ({"kid": "../../etc/passwd"}, "key"),
        ({"kid": "es384' OR '1'='1"}, "key"),
        ({"jku": "https://evil.example.org/jwks.json"}, "jku"),
        ({"jku": "https://other.example.org/jwks.json"}, "jku"),
        ({"jku": "https://ehr.example.org/jwks.json?"}, "jku"),
        ({"jku": "https://ehr.example.org@evil.example.org/jwks.json"}, "jku"),
        ({"jku": "https://EHR.example.org/jwks.json"}, "jku"),
        ({"jku": ""}, "jku"),
        ({"jku": 7}, "jku"),
        ({"jku": [JKU]}, "jku"),
    ],
)
def test_a_header_that_does_not_fit_the_client_is_refused(
    header: Mapping[str, Any], check: str, token: MakeToken, make_gate: MakeGate
) -> None:
    assert failed(token(header=header), make_gate(algorithms=("ES384", "RS384"))) == [check]


@pytest.mark.parametrize(
    "header", [{}, {"jku": JKU}, {"typ": "jwt"}, {"cty": "json"}, {"x5u": "https://evil.example.org/"}]
)
def test_a_header_that_fits_is_accepted(header: Mapping[str, Any], token: MakeToken, make_gate: MakeGate) -> None:
    assert failed(token(header=header), make_gate()) == []


@pytest.mark.parametrize("jku", [JKU, "https://evil.example.org/jwks.json", "", 7, None, [JKU]])
def test_where_the_keys_came_another_way_no_jku_is_looked_at(
    jku: object, token: MakeToken, make_gate: MakeGate
) -> None:
    gate = make_gate(jku=None)
    assert failed(token(), gate) == []
    assert failed(token(header={"jku": jku}), gate) == []
    stranger = sign(new_key("ES384", "es384"), claims_for(ISSUER, URL, NOW), jku=JKU)
    assert failed(stranger, gate) == ["signature"]


def test_a_missing_typ_is_accepted_with_a_note(token: MakeToken, make_gate: MakeGate) -> None:
    checks, caller = examined(token(header={"typ": ...}), make_gate())
    assert all(check.passed for check in checks)
    assert caller is not None
    assert caller.notes == ("the token has no typ",)


def test_a_key_in_the_header_is_not_used(make_gate: MakeGate) -> None:
    own = new_key("ES384", "es384")
    claims = claims_for(ISSUER, URL, NOW)
    assert failed(sign(own, claims, jwk=key_set(own)["keys"][0]), make_gate()) == ["signature"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_signature_of_another_key_is_refused(algorithm: str, make_gate: MakeGate) -> None:
    stranger = new_key(algorithm, algorithm.lower())
    assert failed(sign(stranger, claims_for(ISSUER, URL, NOW)), make_gate(algorithms=ALGORITHMS)) == ["signature"]


def test_a_key_is_used_with_its_own_algorithm_alone(
    keys: Mapping[str, dict[str, Any]], token: MakeToken, make_gate: MakeGate
) -> None:
    marked = make_gate(algorithms=ALGORITHMS)
    other = sign({**keys["RS384"], "alg": "PS384"}, claims_for(ISSUER, URL, NOW))
    assert failed(other, marked) == ["key"]
    open_key = {name: value for name, value in key_set(keys["RS384"])["keys"][0].items() if name != "alg"}
    assert failed(other, make_gate(algorithms=ALGORITHMS, published={"keys": [open_key]})) == []
    assert failed(other, make_gate(published={"keys": [open_key]})) == ["alg"]


@pytest.mark.parametrize(
    "issuer",
    [
        ...,
        None,
        "",
        7,
        [ISSUER],
        {"": ISSUER},
        "https://ehr.example.org",
        "https://EHR.example.org/",
        "https://evil.example.org/",
        "https://ehr.example.org/ ",
        "general",
    ],
)
def test_an_issuer_that_is_not_registered_letter_by_letter_is_refused(
    issuer: object, token: MakeToken, make_gate: MakeGate
) -> None:
    assert failed(token(iss=issuer), make_gate())[0] == "iss"


def test_a_client_cannot_speak_for_another(token: MakeToken, make_gate: MakeGate) -> None:
    assert failed(token(iss="https://other.example.org/"), make_gate()) == ["signature"]
    assert failed(token("RS384", iss="https://other.example.org/"), make_gate()) == ["key"]
    assert failed(token(iss="https://other.example.org/", header={"jku": JKU}), make_gate()) == ["jku"]


# What the tokens of clients look like, by their source or their documentation: the entry that they need beside the
# issuer, the header and claims that they send.
CLIENTS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]] = {
    # github.com/cds-hooks/sandbox, src/retrieve-data-helpers/jwt-generator.js
    "official sandbox": (
        {"jku": "https://sandbox.cds-hooks.org/.well-known/jwks.json"},
        {"alg": "ES384", "jku": "https://sandbox.cds-hooks.org/.well-known/jwks.json"},
        {"iss": "https://sandbox.cds-hooks.org"},
    ),
    "official sandbox, its keys in a file": (
        {"jku": None},
        {"alg": "ES384", "jku": "https://sandbox.cds-hooks.org/.well-known/jwks.json"},
        {"iss": "https://sandbox.cds-hooks.org"},
    ),
    # github.com/inferno-framework/davinci-crd-test-kit, jwt_helper.rb: exp is reckoned after iat
    "Inferno CRD, ES384": (
        {"jku": None},
        {"alg": "ES384", "jku": "https://inferno.example.org/custom/crd_server/jwks.json"},
        {"iss": "https://inferno.example.org/custom/crd_server", "jti": "5f" * 32, "exp": NOW + 301},
    ),
    "Inferno CRD, RS384": (
        {"jku": "https://inferno.example.org/custom/crd_server/jwks.json"},
        {"alg": "RS384", "jku": "https://inferno.example.org/custom/crd_server/jwks.json"},
        {"iss": "https://inferno.example.org/custom/crd_server", "jti": "5f" * 32},
    ),
    # Epic's documentation of CDS Hooks: exp 900 s after iat, nbf 300 s before it
    "Epic": (
        {"jku": "https://epic.example.org/PublicKeys/530013/530013", "lifetime": 900},
        {"alg": "RS384", "jku": "https://epic.example.org/PublicKeys/530013/530013"},
        {"iss": "https://epic.example.org/api/FHIR/R4", "sub": "client-id", "nbf": NOW - 300, "exp": NOW + 900},
    ),
    # Oracle Health's documentation of CDS Hooks: one issuer for all tenants, keys at authorization.cerner.com
    "Oracle Health": (
        {"jku": "https://authorization.cerner.com/jwk", "algorithms": ("RS256", "RS384")},
        {"alg": "RS256", "jku": "https://authorization.cerner.com/jwk"},
        {"iss": "https://cds-hooks.cerner.com", "tenant": "00000000-0000-4000-8000-000000000000"},
    ),
    # The specification, Trusting CDS Clients: aud as an array, the jku left out
    "another one": ({"jku": None}, {"alg": "ES384"}, {"iss": "https://fhir-ehr.example.com/", "aud": [URL]}),
}


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("audience", [URL, f"{URL}/", [URL]])
def test_tokens_as_real_clients_send_them_are_accepted(
    name: str, audience: object, keys: Mapping[str, dict[str, Any]], make_gate: MakeGate
) -> None:
    entry, header, claims = CLIENTS[name]
    sent = {**claims_for(claims["iss"], URL, NOW), "aud": audience, **claims}
    jku = {"jku": header["jku"]} if "jku" in header else {}
    assert failed(sign(keys[header["alg"]], sent, **jku), make_gate(issuers=(claims["iss"],), **entry)) == []


@pytest.mark.parametrize(
    "audience",
    [
        URL,
        f"{URL}/",
        [URL],
        ["https://elsewhere.example.org/", URL],
        "HTTPS://CDS.example.org/cds-services/greeter",
        "https://cds.example.org:443/cds-services/greeter",
    ],
)
def test_an_audience_that_is_the_called_url_is_accepted(
    audience: object, token: MakeToken, make_gate: MakeGate
) -> None:
    assert failed(token(aud=audience), make_gate()) == []
    assert failed(token(aud=audience), make_gate(), Call((f"{URL}/",), "greeter")) == []


@pytest.mark.parametrize(
    "audience",
    [
        ...,
        None,
        "",
        7,
        [],
        [7],
        [URL, 7],
        [[URL]],
        {"url": URL},
        "https://cds.example.org",
        "https://cds.example.org/cds-services",
        "https://cds.example.org/cds-services/echo",
        "https://cds.example.org/cds-services/greeter/feedback",
        "https://cds.example.org/cds-services/Greeter",
        "https://cds.example.org/cds-services/greeter?x=1",
        "https://cds.example.org/cds-services/greeters",
        "http://cds.example.org/cds-services/greeter",
        "https://cds.example.org:8443/cds-services/greeter",
        "https://cds.example.org.evil.example.org/cds-services/greeter",
        "https://user@cds.example.org/cds-services/greeter",
        "https://[/cds-services/greeter",
        "/cds-services/greeter",
        "greeter",
        f"{URL} https://elsewhere.example.org/",
    ],
)
def test_an_audience_that_is_another_url_is_refused(audience: object, token: MakeToken, make_gate: MakeGate) -> None:
    assert failed(token(aud=audience), make_gate()) == ["aud"]


def test_an_audience_of_the_client_entry_is_accepted_for_this_client_alone(
    token: MakeToken, make_gate: MakeGate
) -> None:
    assert failed(token(aud="sitbone-at-general"), make_gate(audiences=("sitbone-at-general",))) == []
    assert failed(token(aud="sitbone-at-general"), make_gate()) == ["aud"]


@pytest.mark.parametrize(
    ("claims", "check"),
    [
        ({"exp": NOW - 60, "iat": NOW - 100}, ["exp"]),
        ({"exp": NOW - 59, "iat": NOW - 100}, []),
        ({"exp": NOW + 300, "iat": NOW}, []),
        ({"exp": NOW + 301, "iat": NOW}, []),
        ({"exp": NOW + 302, "iat": NOW}, ["lifetime"]),
        ({"exp": NOW + 0.5, "iat": NOW - 0.5}, []),
        ({"exp": NOW + 60, "iat": NOW + 60}, ["lifetime"]),
        ({"exp": NOW + 60, "iat": NOW + 61}, ["iat", "lifetime"]),
        ({"exp": NOW + 200, "iat": NOW + 60}, []),
        ({"exp": NOW + 10, "iat": NOW - 1_000_000}, ["lifetime"]),
        ({"exp": ...}, ["exp"]),
        ({"exp": None}, ["exp"]),
        ({"exp": str(int(NOW + 300))}, ["exp"]),
        ({"exp": True}, ["exp"]),
        ({"exp": [NOW + 300]}, ["exp"]),
        ({"exp": 10**30}, ["exp"]),
        ({"exp": (NOW + 300) * 1000}, ["exp"]),
        ({"iat": ...}, ["iat"]),
        ({"iat": "now"}, ["iat"]),
        ({"iat": False}, ["iat"]),
        ({"iat": -(10**30)}, ["iat"]),
        ({"nbf": NOW - 300}, []),
        ({"nbf": NOW + 60}, []),
        ({"nbf": NOW + 61}, ["nbf"]),
        ({"nbf": None}, ["nbf"]),
        ({"nbf": "soon"}, ["nbf"]),
        ({"jti": ...}, ["jti"]),
        ({"jti": ""}, ["jti"]),
        ({"jti": None}, ["jti"]),
        ({"jti": 7}, ["jti"]),
        ({"jti": ["a"]}, ["jti"]),
        ({"jti": "j" * 256}, []),
        ({"jti": "j" * 257}, ["jti"]),
        ({"sub": 7}, ["sub"]),
        ({"sub": "s" * 257}, ["sub"]),
        ({"tenant": ["t"]}, ["tenant"]),
        ({"tenant": ""}, ["tenant"]),
        ({"tenant": None, "sub": None}, []),
    ],
)
def test_the_other_claims_are_held_to_the_specification(
    claims: Mapping[str, Any], check: list[str], token: MakeToken, make_gate: MakeGate
) -> None:
    assert failed(token(**claims), make_gate()) == check


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400", "1" + "0" * 400, "1" * 5000])
def test_a_number_that_cannot_be_reckoned_with_is_no_time(
    text: str, keys: Mapping[str, dict[str, Any]], make_gate: MakeGate
) -> None:
    claims = json.dumps({**claims_for(ISSUER, URL, NOW), "exp": 0}).replace('"exp": 0', f'"exp": {text}')
    assert failed(signed_text(keys["ES384"], claims), make_gate())[0] in {"form", "exp"}


def test_skew_and_lifetime_are_those_of_the_client_entry(token: MakeToken, make_gate: MakeGate) -> None:
    assert failed(token(lifetime=3600), make_gate(lifetime=3600)) == []
    assert failed(token(lifetime=3602), make_gate(lifetime=3600)) == ["lifetime"]
    assert failed(token(iat=NOW - 300, exp=NOW - 5), make_gate(skew=5)) == ["exp"]
    assert failed(token(iat=NOW - 299, exp=NOW - 4), make_gate(skew=5)) == []


def test_of_a_member_that_is_there_twice_the_last_one_counts_everywhere(
    keys: Mapping[str, dict[str, Any]], make_gate: MakeGate
) -> None:
    claims = json.dumps(claims_for(ISSUER, URL, NOW))
    assert failed(signed_text(keys["ES384"], f'{{"aud": "https://evil.example.org/", {claims[1:]}'), make_gate()) == []
    assert failed(signed_text(keys["ES384"], f'{claims[:-1]}, "aud": "https://evil.example.org/"}}'), make_gate()) == [
        "aud"
    ]


def other_text(value: str) -> str:
    return ("A" if value[0] != "A" else "B") + value[1:]


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (lambda head, claims, signature: f"{head}.{claims}.{other_text(signature)}", "signature"),
        (lambda head, claims, signature: f"{head}.{claims}.{signature[:-4]}", "signature"),
        (lambda head, claims, signature: f"{head}.{claims}.{signature}AAAA", "signature"),
        (lambda head, claims, signature: f"{head}.{claims}.{'A' * len(signature)}", "signature"),
        (lambda head, claims, signature: f"{head}.{claims}.", "signature"),
        (lambda head, claims, signature: f"{head}.{claims}", "form"),
        (lambda head, claims, signature: f"{head}.{claims}.{signature}.{signature}", "form"),
        (lambda head, claims, signature: f"{head}.{claims}\n.{signature}", "form"),
        (lambda head, claims, signature: f"{head}. {claims}.{signature}", "form"),
        (lambda head, claims, signature: f"{head}.{claims},{head}.{claims}.{signature}", "form"),
        (lambda head, claims, signature: f"{head}.{claims}.{signature}é", "form"),
        (lambda head, claims, signature: f"{head}.{claims}.{signature}+/", "form"),
        (lambda head, claims, signature: f"{head}..{signature}", "form"),
        (lambda head, claims, signature: f".{claims}.{signature}", "form"),
        (lambda head, claims, signature: "..", "form"),
        (lambda head, claims, signature: "", "form"),
        (lambda head, claims, signature: "null", "form"),
        (lambda head, claims, signature: f"{encoded(b'[]')}.{claims}.{signature}", "form"),
        (lambda head, claims, signature: f"{encoded(b'null')}.{claims}.{signature}", "form"),
        (lambda head, claims, signature: f"{encoded(b'{')}.{claims}.{signature}", "form"),
        (lambda head, claims, signature: f"{head}.{encoded(b'[]')}.{signature}", "form"),
        (lambda head, claims, signature: f"{head}.{encoded(b'7')}.{signature}", "form"),
        (lambda head, claims, signature: f"{head}.{encoded(b'{x')}.{signature}", "form"),
        (lambda head, claims, signature: f"{head}.{encoded(bytes([0xFF, 0xFE]))}.{signature}", "form"),
        (lambda head, claims, signature: f"{head}.{encoded(b'[' * 5000)}.{signature}", "form"),
        (lambda head, claims, signature: f"{encoded(b'[' * 5000)}.{claims}.{signature}", "form"),
    ],
)
def test_a_token_that_was_spoilt_is_refused(
    spoil: Callable[[str, str, str], str], check: str, token: MakeToken, make_gate: MakeGate
) -> None:
    assert failed(spoil(*token().split(".")), make_gate()) == [check]


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"crit": "b64"},
        {"b64": False, "crit": ["b64"]},
        {"b64": False},
        {"kid": 7},
    ],
)
def test_a_header_that_asks_for_another_reading_is_refused(header: Mapping[str, Any], make_gate: MakeGate) -> None:
    spoilt = raw_token({"alg": "ES384", "typ": "JWT", "kid": "es384", **header}, claims_for(ISSUER, URL, NOW))
    assert failed(spoilt, make_gate()) == ["form"]


def test_a_token_is_not_read_beyond_its_largest_size(token: MakeToken, make_gate: MakeGate) -> None:
    fits = token(x="")
    assert failed(token(x="x" * ((8_192 - len(fits)) * 3 // 4 - 4)), make_gate()) == []
    assert failed(token(x="x" * 8_192), make_gate()) == ["size"]
    assert failed("x" * 8_193, make_gate()) == ["size"]


def test_a_client_may_call_only_the_services_of_its_entry(token: MakeToken, make_gate: MakeGate) -> None:
    gate = make_gate(services=("echo", "busy"))
    checks, caller = examined(token(), gate)
    assert caller is None
    assert [(check.name, check.forbidden) for check in checks if not check.passed] == [("service allowed", True)]
    assert failed(token(), gate, Call((URL,), None)) == []
    assert failed(token(), make_gate(services=("echo", "greeter"))) == []


@pytest.mark.parametrize(("tenant", "passes"), [("t1", True), ("t2", True), ("t3", False), (..., False)])
def test_where_an_entry_lists_tenants_every_other_is_refused(
    tenant: object, passes: bool, token: MakeToken, make_gate: MakeGate
) -> None:
    checks, caller = examined(token(tenant=tenant), make_gate(tenants=("t1", "t2")))
    assert (caller is not None) is passes
    assert [check.forbidden for check in checks if not check.passed] == ([] if passes else [True])


def test_every_check_that_fails_is_found_and_not_only_the_first(token: MakeToken, make_gate: MakeGate) -> None:
    spoilt = token(aud="https://elsewhere.example.org/", exp=NOW - 600, iat=NOW - 900, jti=..., header={"typ": "x"})
    assert failed(spoilt, make_gate()) == ["typ", "aud", "exp", "jti"]
    assert failed(token(iss="https://evil.example.org/", aud="x"), make_gate()) == ["iss", "aud"]


def test_expected_and_received_are_said_and_never_the_token(token: MakeToken, make_gate: MakeGate) -> None:
    spoilt = token(
        aud="https://a.example.org/", exp=NOW - 600, iat=NOW - 900, jti="very-secret" * 30, tenant=["very-secret"]
    )
    checks, _ = examined(spoilt, make_gate())
    said = {check.name: (check.expected, check.received) for check in checks if not check.passed}

    assert said["aud"] == (f"the URL that is called, {URL}", '"https://a.example.org/"')
    assert said["exp"] == ("a time after 2027-01-15T07:59:00Z", "2027-01-15T07:50:00Z")
    assert said["jti"] == ("a string of 1 to 256 characters", "another value")
    text = " ".join(f"{check.expected} {check.received}" for check in checks)
    assert "very-secret" not in text
    assert not any(part in text for part in spoilt.split("."))


def test_a_long_or_odd_value_is_shown_short_and_in_one_line(token: MakeToken, make_gate: MakeGate) -> None:
    checks, _ = examined(token(iss="x\n\u2028é" + "y" * 5000), make_gate())
    received = next(check.received for check in checks if check.name == "iss")
    assert received.startswith('"x\\n\\u2028\\u00e9yyy')
    assert len(received) < 250
    assert received.isascii()


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("HTTPS://A.example.org:443/x/", "https://a.example.org/x"),
        ("http://a.example.org:80", "http://a.example.org"),
        ("https://a.example.org:80/", "https://a.example.org:80"),
        ("https://a.example.org/x?y=1", "https://a.example.org/x?y=1"),
        ("https://a.example.org/X", "https://a.example.org/X"),
        ("no url", "no url"),
        ("https://[", "https://["),
    ],
)
def test_urls_are_compared_without_what_makes_no_difference(url: str, same: str) -> None:
    assert canonical(url) == same
