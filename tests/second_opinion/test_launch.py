"""Launch and callback: what is sent to the authorization server, and every way in which a launch is refused."""

import base64
import hashlib
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from cds_hooks.trust.signing import new_key
from service.app import create_app
from service.second_opinion.sealing import LaunchState, Seal
from service.settings import Settings, SettingsError
from tests.second_opinion.conftest import FRAMES, KEY, PUBLIC, MakeSite, Site, write_clients
from tests.second_opinion.ehr import LAUNCH, Ehr

PARAMETERS = {
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "aud",
    "launch",
    "code_challenge",
    "code_challenge_method",
    "nonce",
}


def asked_for(location: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def opened(site: Site, state: str) -> LaunchState:
    found = Seal([KEY], lambda: site.time().timestamp()).open(LaunchState, state)
    assert found is not None
    return found


# -- what is sent -----------------------------------------------------------------------------------------------------


def test_a_launch_goes_to_the_endpoint_of_discovery_with_all_ten_parameters(site: Site) -> None:
    launched = site.launched(site.browser())
    location = launched.headers["Location"]
    given = asked_for(location)
    assert (launched.status_code, location.partition("?")[0]) == (302, f"{site.ehr.base}/authorize")
    assert given.keys() == PARAMETERS
    assert (given["response_type"], given["code_challenge_method"]) == ("code", "S256")
    assert (given["aud"], given["launch"]) == (site.ehr.iss, LAUNCH)
    assert given["redirect_uri"] == f"{PUBLIC}/app/callback/clinic"
    assert {"launch", "openid", "fhirUser", "patient/Observation.rs"} <= {*given["scope"].split()}
    assert not [scope for scope in given["scope"].split() if scope.endswith(".c")]
    state = opened(site, given["state"])
    challenge = base64.urlsafe_b64encode(hashlib.sha256(state.verifier.encode()).digest()).decode().rstrip("=")
    assert (given["code_challenge"], given["nonce"]) == (challenge, state.nonce)
    assert 43 <= len(state.verifier) <= 128


def test_two_launches_share_no_state_verifier_or_nonce(site: Site) -> None:
    client = site.browser()
    given = [asked_for(site.launched(client).headers["Location"]) for _ in range(2)]
    states = [opened(site, one["state"]) for one in given]
    for first, second in (
        (given[0]["state"], given[1]["state"]),
        (states[0].id, states[1].id),
        (states[0].verifier, states[1].verifier),
        (states[0].nonce, states[1].nonce),
    ):
        assert first != second
    # 122 bits at least: 24 random bytes.
    assert len(states[0].id) == 32


def test_the_secret_of_the_browser_is_a_cookie_of_this_host_alone_that_no_script_reads(site: Site) -> None:
    first = site.get(site.browser(), "/app/launch", {"iss": site.ehr.iss, "launch": LAUNCH})
    [cookie] = first.headers.getlist("Set-Cookie")
    name, _, rest = cookie.partition("=")
    parts = {part.strip() for part in rest.split(";")}
    assert name == "__Host-app"
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=None", "Partitioned"} <= parts
    assert not [part for part in parts if part.startswith(("Domain", "Expires", "Max-Age"))]
    # It comes back here first, so that it is seen whether the browser keeps it.
    assert first.headers["Location"].startswith(f"{PUBLIC}/app/launch?")
    assert site.ehr.asked == []


def test_a_slash_at_the_end_of_the_iss_makes_no_difference(site: Site) -> None:
    given = asked_for(site.launched(site.browser(), iss=f"{site.ehr.iss}/").headers["Location"])
    assert given["aud"] == site.ehr.iss


def test_where_an_entry_lists_scopes_those_are_asked_for(make_site: MakeSite) -> None:
    site = make_site(scopes=["launch", "patient/*.read"])
    assert asked_for(site.launched(site.browser()).headers["Location"])["scope"] == "launch patient/*.read"


def test_an_entry_that_writes_asks_for_it(make_site: MakeSite) -> None:
    site = make_site(write=["Observation", "QuestionnaireResponse"])
    scopes = asked_for(site.launched(site.browser()).headers["Location"])["scope"].split()
    assert scopes[-2:] == ["patient/QuestionnaireResponse.c", "patient/Observation.c"]
    site = make_site(write=["ServiceRequest", "DocumentReference"])
    scopes = asked_for(site.launched(site.browser()).headers["Location"])["scope"].split()
    # A note is looked for before it is saved once more, and read by nobody else.
    assert scopes[-3:] == ["patient/DocumentReference.rs", "patient/DocumentReference.c", "patient/ServiceRequest.c"]


@pytest.mark.parametrize("auth", ["private_key_jwt", "client_secret_basic", "public"])
def test_each_way_to_authenticate_passes_the_authorization_server(make_site: MakeSite, auth: str) -> None:
    site = make_site(auth=auth)
    page = site.open()
    assert page.status == 200, page.text
    assert "Pat Sample" in page.text
    [sent] = site.ehr.token_requests
    assert sent["grant_type"] == "authorization_code"
    assert sent["redirect_uri"] == site.ehr.redirect_uri
    assert ("client_assertion" in sent) == (auth == "private_key_jwt")
    assert sent.get("client_id") == ("public" if auth == "public" else None)


def test_no_assertion_is_sent_twice_and_each_lives_for_five_minutes_at_most(make_site: MakeSite) -> None:
    site = make_site()
    site.ehr.faults.lifetime = 1
    page = site.open()
    page.press("enough")
    assertions = [one["client_assertion"] for one in site.ehr.token_requests]
    claims = [json.loads(base64.urlsafe_b64decode(one.split(".")[1] + "==")) for one in assertions]
    headers = [json.loads(base64.urlsafe_b64decode(one.split(".")[0] + "==")) for one in assertions]
    assert len(assertions) >= 3
    assert len({one["jti"] for one in claims}) == len(claims)
    assert all(0 < one["exp"] - one["iat"] <= 300 for one in claims)
    assert all(abs(one["iat"] - time.time()) < 300 for one in claims)
    assert {(one["iss"], one["sub"], one["aud"]) for one in claims} == {
        ("private", "private", f"{site.ehr.base}/token")
    }
    assert {(one["typ"], one["alg"], one["kid"]) for one in headers} == {("JWT", "ES384", "app")}


def test_the_public_keys_of_the_apps_are_published_and_nothing_private_of_them(site: Site) -> None:
    body = site.get(site.browser(), "/app/jwks.json").get_json()
    [key] = body["keys"]
    assert (key["kid"], key["alg"]) == ("app", "ES384")
    assert "d" not in key


# -- false issuers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "iss",
    [
        "https://other.example.org/fhir",
        "{base}/fhir/other",
        "{base}/FHIR",
        "{base}",
        "{base}/fhir//",
        "{base}/fhir?x=1",
        "{base}/fhir#x",
        "https://127.0.0.1:{port}/fhir",
        "http://127.0.0.1/fhir",
        "http://user@127.0.0.1:{port}/fhir",
        "http://127.0.0.1:{port}@evil.example.org/fhir",
        "http://127.0.0.1.evil.example.org:{port}/fhir",
        "http://localhost:{port}/fhir",
        "http://\uff1127.0.0.1:{port}/fhir",
        "{base}/fhir ",
        "javascript:alert(1)",
    ],
)
def test_an_iss_that_is_not_letter_by_letter_that_of_a_client_is_refused_and_nobody_is_asked(
    site: Site, iss: str
) -> None:
    named = iss.format(base=site.ehr.base, port=urlsplit(site.ehr.base).port)
    refused = site.get(site.browser(), "/app/launch", {"iss": named, "launch": LAUNCH})
    assert refused.status_code == 400
    assert "not known here" in refused.get_data(as_text=True)
    assert "Set-Cookie" not in refused.headers
    assert site.ehr.asked == []


@pytest.mark.parametrize("query", ["", "iss={iss}", "launch=x", "iss={iss}&iss={iss}&launch=x", "iss={iss}&launch="])
def test_what_is_no_launch_is_refused(site: Site, query: str) -> None:
    refused = site.browser().get(f"/app/launch?{query.format(iss=site.ehr.iss)}", base_url=PUBLIC)
    assert refused.status_code == 400
    assert site.ehr.asked == []


@pytest.mark.parametrize(
    "changed",
    [
        {"authorization_endpoint": "https://evil.example.org/authorize"},
        {"authorization_endpoint": "http://127.0.0.1.evil.example.org/authorize"},
        {"authorization_endpoint": "http://u:p@127.0.0.1/authorize"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": None},
        {"token_endpoint": "https://evil.example.org/token"},
        {"revocation_endpoint": "https://evil.example.org/revoke"},
        {"jwks_uri": "https://evil.example.org/jwks"},
        {"code_challenge_methods_supported": ["plain"]},
        {"code_challenge_methods_supported": None},
    ],
)
def test_a_server_that_names_endpoints_elsewhere_or_no_s256_is_not_gone_to(site: Site, changed: dict[str, Any]) -> None:
    site.ehr.faults.discovery = changed
    refused = site.launched(site.browser())
    assert (refused.status_code, "Location" in refused.headers) == (502, False)
    assert site.ehr.asked == ["GET /fhir/.well-known/smart-configuration"]


@pytest.mark.parametrize("fault", ["redirect", "status"])
def test_a_discovery_that_redirects_or_fails_is_not_followed(site: Site, fault: str) -> None:
    site.ehr.faults.redirects_discovery = fault == "redirect"
    site.ehr.faults.discovery_status = 500
    assert site.launched(site.browser()).status_code == 502
    assert site.ehr.asked == ["GET /fhir/.well-known/smart-configuration"]


# -- callbacks --------------------------------------------------------------------------------------------------------


def test_a_refusal_by_the_ehr_is_said_and_no_token_is_asked_for(site: Site) -> None:
    site.ehr.faults.denies = True
    client = site.browser()
    page = site.called_back(client, site.authorized(client))
    assert (page.status, "did not give access" in page.text) == (403, True)
    assert site.ehr.token_requests == []


@pytest.mark.parametrize("wrong", ["missing", "made up", "twice", "cut", "without code", "old"])
def test_a_callback_with_a_wrong_or_an_old_state_is_refused_and_no_token_is_asked_for(site: Site, wrong: str) -> None:
    client = site.browser()
    given = site.authorized(client)
    if wrong == "old":
        site.time.ahead = 601
    changed = {
        "missing": {"code": given["code"]},
        "made up": {**given, "state": "gAAAAABmade-up"},
        "cut": {**given, "state": given["state"][:-4]},
        "without code": {"state": given["state"]},
    }.get(wrong, given)
    if wrong == "twice":
        query = f"code={given['code']}&state={given['state']}&state={given['state']}"
        response = client.get(f"/app/callback/clinic?{query}", base_url=PUBLIC)
        assert response.status_code == 400
    else:
        page = site.called_back(client, changed)
        assert (page.status, "Open the second opinion again" in page.text) == (400, True)
    assert site.ehr.token_requests == []


def test_a_state_is_good_for_one_callback(site: Site) -> None:
    client = site.browser()
    given = site.authorized(client)
    assert site.called_back(client, given).status == 200
    again = site.called_back(client, given)
    assert (again.status, "used already" in again.text) == (400, True)
    assert len(site.ehr.token_requests) == 1


def test_a_callback_of_one_client_with_the_state_of_another_is_refused(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site()
    with Ehr({"context": {"patientId": "1"}, "prefetch": {}}).running() as other:
        entries: Any = {"clinic": (site.ehr.iss, "public", {}), "county": (other.iss, "public", {})}
        write_clients(tmp_path / "clients.toml", entries)
        site.app = create_app(site.settings, clock=site.time)
        client = site.browser()
        given = site.authorized(client)
        page = site.called_back(client, given, "county")
        assert (page.status, "another EHR" in page.text) == (400, True)
        assert site.ehr.token_requests + other.token_requests == []
        assert site.called_back(client, given, "nobody").status == 400


def test_the_iss_beside_a_code_has_to_be_that_of_the_server(site: Site) -> None:
    client = site.browser()
    given = site.authorized(client)
    page = site.called_back(client, {**given, "iss": "https://evil.example.org"})
    assert (page.status, site.ehr.token_requests) == (400, [])
    assert site.called_back(client, {**given, "iss": site.ehr.base}).status == 200


def test_without_the_secret_of_the_browser_a_valid_state_is_refused(site: Site) -> None:
    given = site.authorized(site.browser())
    stranger = site.browser()
    page = site.called_back(stranger, given)
    # A browser without a cookie may have it in its storage: it is asked, and nothing else happens.
    assert "Pat Sample" not in page.text
    site.launched(stranger)
    assert site.called_back(stranger, given).status == 403
    for secret in ("", "x" * 43):
        form = {**given, "secret": secret}
        assert site.post(site.browser(), "/app/callback/clinic", form).status == 403
    assert site.ehr.token_requests == []


def test_without_the_secret_of_the_browser_a_valid_page_is_refused(site: Site) -> None:
    client = site.browser()
    page = site.open(client)
    asked = len(site.ehr.asked)
    form = {**page.hidden(), "do": "enough"}
    for stranger in (site.browser(), site.browser()):
        refused = site.post(stranger, "/app/opinion", form)
        assert (refused.status, "Pat Sample" in refused.text) == (403, False)
        site.launched(stranger)
    assert [path for path in site.ehr.asked[asked:] if "well-known" not in path] == []
    assert page.press("enough").status == 200


def test_a_browser_that_keeps_no_cookie_gets_the_secret_for_its_storage_and_can_go_on_with_it(site: Site) -> None:
    bare = site.app.test_client(use_cookies=False)
    handed = site.get(bare, "/app/launch", {"iss": site.ehr.iss, "launch": LAUNCH, "cookie": "set"})
    html = handed.get_data(as_text=True)
    data = dict(part.split('="') for part in html.split("<main ")[1].split('">')[0].split('" '))
    answer = requests.get(data["data-next"].replace("&amp;", "&"), allow_redirects=False, timeout=10)
    given = asked_for(answer.headers["Location"])
    asked = site.called_back(bare, given)
    # The two pages agree under which name it lies.
    assert f'data-key="{data["data-key"]}"' in asked.html
    assert hashlib.sha256(given["state"].encode()).hexdigest()[:32] == data["data-key"]
    page = site.post(bare, "/app/callback/clinic", {**given, "secret": data["data-secret"]})
    assert (page.status, "Pat Sample" in page.text) == (200, True)
    assert page.send("enough", secret=data["data-secret"]).status == 200
    assert page.send("enough", secret="").status == 403


# -- who is signed in, and whose chart it is --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"id_token": {"aud": "another-app"}},
        {"id_token": {"iss": "https://evil.example.org"}},
        {"id_token": {"nonce": "another"}},
        {"id_token": {"nonce": None}},
        {"id_token": {"exp": int(time.time()) - 3600}},
        {"id_token_key": new_key("ES384", "of-the-ehr")},
        {"id_token_key": new_key("ES384", "nobodys")},
        {"unsigned": True},
    ],
)
def test_an_id_token_that_is_not_of_this_server_for_this_launch_gives_no_page(
    site: Site, fault: dict[str, Any]
) -> None:
    for name, value in fault.items():
        setattr(site.ehr.faults, name, value)
    client = site.browser()
    page = site.called_back(client, site.authorized(client))
    assert (page.status, "Pat Sample" in page.text) == (403, False)
    assert not [path for path in site.ehr.asked if path.startswith("GET /fhir/Patient")]


def test_an_id_token_that_names_no_key_is_held_to_the_only_one_of_the_server(site: Site) -> None:
    # As the public SMART launcher does it.
    site.ehr.faults.without_kid = True
    assert site.open().status == 200


@pytest.mark.parametrize(
    "fault",
    [
        {"other_keys": (new_key("ES384", "another"),)},
        {"id_token_key": new_key("ES384", "nobodys")},
        {"id_token": {"nonce": "another"}},
    ],
)
def test_an_id_token_that_names_no_key_is_refused_where_that_or_anything_else_leaves_a_doubt(
    site: Site, fault: dict[str, Any]
) -> None:
    site.ehr.faults.without_kid = True
    for name, value in fault.items():
        setattr(site.ehr.faults, name, value)
    assert site.open().status == 403


@pytest.mark.parametrize("id_token", ["no.jwt.at-all", "", "x"])
def test_an_id_token_that_is_none_gives_no_page(site: Site, id_token: str) -> None:
    site.ehr.id_token = lambda *_: id_token  # type: ignore[method-assign]
    assert site.open().status == 403


def test_where_openid_was_granted_an_id_token_has_to_come(site: Site) -> None:
    site.ehr.id_token = lambda *_: None  # type: ignore[assignment,method-assign]
    assert site.open().status == 403


def test_where_openid_was_not_granted_the_page_does_without_a_user(site: Site) -> None:
    site.ehr.faults.scope = lambda scope: scope.replace("openid fhirUser ", "")
    assert site.open().status == 200


def test_a_token_without_a_patient_is_said_and_no_chart_is_read(site: Site) -> None:
    site.ehr.faults.token = {"patient": None}
    page = site.open()
    assert (page.status, "named no patient" in page.text) == (400, True)
    assert not [path for path in site.ehr.asked if path.startswith("GET /fhir/P")]


@pytest.mark.parametrize("patient", ["../Patient/1", "a b", "..", "x/y", "1?_include=*", ""])
def test_a_patient_that_is_no_id_is_refused(site: Site, patient: str) -> None:
    site.ehr.faults.token = {"patient": patient}
    assert site.open().status == 400
    assert not [path for path in site.ehr.asked if path.startswith("GET /fhir/P")]


def test_the_chart_of_another_patient_is_refused(site: Site) -> None:
    site.ehr.resources["Patient/1032702"]["id"] = "someone-else"
    page = site.open()
    assert (page.status, "cannot be read" in page.text) == (502, True)


def test_new_access_to_another_patient_ends_the_session(make_site: MakeSite) -> None:
    # The clock of the EHR stays behind, which would not take an assertion of tomorrow.
    site = make_site(auth="public")
    site.ehr.faults.lifetime = 60
    page = site.open()
    site.time.ahead = 100
    site.ehr.faults.token = {"patient": "7770123"}
    assert page.press("enough").status == 401


@pytest.mark.parametrize(
    "token",
    [
        {"access_token": None},
        {"access_token": "a b"},
        {"token_type": "mac"},
        {"expires_in": [1]},
        {"scope": 7},
    ],
)
def test_a_token_response_that_cannot_be_used_gives_no_page(site: Site, token: dict[str, Any]) -> None:
    site.ehr.faults.token = token
    page = site.open()
    assert (page.status, "Pat Sample" in page.text) == (502, False)


def test_where_the_token_is_over_it_is_renewed_once_and_the_answers_stay(site: Site) -> None:
    page = site.open().press("set:right/pop-at-injury=yes")
    before = len(site.ehr.tokens)
    site.ehr.tokens.clear()
    page = page.press("set:right/sharp-pain=yes")
    assert (page.status, before) == (200, 1)
    assert "Snap or pop at the injury (right): yes" in page.text
    assert [one["grant_type"] for one in site.ehr.token_requests] == ["authorization_code", "refresh_token"]


def test_where_the_access_is_over_the_session_ends_with_the_answers_to_copy(site: Site) -> None:
    page = site.open().press("set:right/pop-at-injury=yes")
    site.ehr.faults.expired = True
    ended = page.press("set:right/sharp-pain=no")
    assert (ended.status, "Session ended" in ended.text) == (401, True)
    assert "Snap or pop at the injury (right): yes" in ended.text
    assert "Pat Sample" not in ended.text


def test_a_page_lives_for_an_hour(make_site: MakeSite) -> None:
    # The clock of the EHR stays behind, which would not take an assertion of tomorrow.
    site = make_site(auth="public")
    page = site.open()
    site.time.ahead = 3590
    page = page.press("set:right/pop-at-injury=yes")
    assert page.status == 200
    site.time.ahead = 3601
    assert page.press("enough").status == 401


# -- frames and headers -----------------------------------------------------------------------------------------------


def test_a_page_may_be_framed_by_the_origins_of_its_client_and_an_unknown_one_by_nobody(site: Site) -> None:
    client = site.browser()
    page = site.open(client)
    allowed = f"frame-ancestors {FRAMES}"
    assert allowed in page.response.headers["Content-Security-Policy"]
    assert allowed in site.launched(client).headers["Content-Security-Policy"]
    assert allowed in page.press("enough").response.headers["Content-Security-Policy"]
    assert allowed in site.called_back(client, {"error": "access_denied"}).response.headers["Content-Security-Policy"]
    for unknown in (
        site.get(client, "/app/launch", {"iss": "https://other.example.org", "launch": "x"}),
        site.called_back(client, {}, "nobody").response,
        site.post(client, "/app/opinion", {"session": "x", "answering": "{}"}).response,
    ):
        assert "frame-ancestors 'none'" in unknown.headers["Content-Security-Policy"]


def test_no_page_is_kept_or_readable_by_others_or_may_load_anything_from_elsewhere(site: Site) -> None:
    for response in (site.open().response, site.launched(site.browser()), site.get(site.browser(), "/app/launch")):
        headers = response.headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
        assert "unsafe" not in policy
        assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")
        assert "Access-Control-Allow-Origin" not in headers
        assert "X-Frame-Options" not in headers


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"app_keys": ()}, "SITBONE_APP_KEYS"),
        ({"public_base_url": "http://cds.example.org"}, "SITBONE_PUBLIC_BASE_URL"),
        ({"public_base_url": None}, "SITBONE_PUBLIC_BASE_URL"),
        ({"fhir_access": "off"}, "SITBONE_FHIR_ACCESS"),
    ],
)
def test_a_client_with_an_app_needs_keys_an_https_address_and_fhir_access(
    site: Site, changed: dict[str, Any], named: str
) -> None:
    settings = Settings(**{**{name: getattr(site.settings, name) for name in Settings.__slots__}, **changed})
    with pytest.raises(SettingsError, match=named):
        create_app(settings)


def test_without_a_client_that_has_an_app_there_is_no_such_page(site: Site, tmp_path: Path) -> None:
    text = (tmp_path / "clients.toml").read_text()
    (tmp_path / "clients.toml").write_text(text[: text.index("[clients.clinic.app]")])
    client = create_app(site.settings).test_client()
    for path in ("/app/launch", "/app/callback/clinic", "/app/jwks.json", "/app/files/app.css"):
        assert client.get(path).status_code == 404
