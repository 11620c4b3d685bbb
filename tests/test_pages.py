"""What is served for the page at `/`, and where it is not. How it behaves in a browser: tests/browser."""

import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_hooks.trust.signing import key_set, new_key
from service.app import create_app
from service.knowledge_model.model import LOCAL_SYSTEM, PACKAGED
from service.pages import demo_ehr
from service.services.explanation import Explainer
from service.settings import Settings, SettingsError
from tests.charts import CLOCK, packaged

FILES = Path(demo_ehr.__file__).parent / "static"
REQUESTS = demo_ehr.PERSONAS / "requests"
CLIENTS = '[clients.ehr]\nissuers = ["https://ehr.example.org"]\njwks_file = "keys.json"\n'
DATA = [
    "/docs",
    "/openapi.yaml",
    "/docs/files/api_docs.js",
    "/demo/patients",
    "/demo/patients/cauda-equina",
    "/demo/vocabulary",
    "/demo/files/demo_ehr.js",
]


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(clock=lambda: CLOCK).test_client()


def got(client: FlaskClient, path: str) -> Any:
    return json.loads(client.get(path).data)


@pytest.fixture
def guarded(tmp_path: Path) -> dict[str, Any]:
    """The settings of a service that only its clients may call."""
    (tmp_path / "keys.json").write_text(json.dumps(key_set(new_key())), "utf-8")
    (tmp_path / "clients.toml").write_text(CLIENTS, "utf-8")
    return {"draft": "show", "clients": tmp_path / "clients.toml", "store": tmp_path / "store"}


def test_on_loopback_the_page_is_there_without_being_asked_for(client: FlaskClient) -> None:
    assert b"demo/files/demo_ehr.js" in client.get("/").data
    assert [client.get(path).status_code for path in DATA] == [200] * len(DATA)


@pytest.mark.parametrize(
    ("pages", "guarded_", "served"), [("off", False, False), ("auto", True, False), ("on", True, True)]
)
def test_it_is_off_where_a_clients_file_is_in_force_and_as_the_setting_says(
    *, pages: str, guarded_: bool, served: bool, guarded: dict[str, Any]
) -> None:
    client = create_app(Settings(pages=pages, **(guarded if guarded_ else {}))).test_client()
    assert client.get("/").status_code == 200
    assert (b"demo/files/demo_ehr.js" in client.get("/").data) is served
    assert {client.get(path).status_code for path in DATA} == {200 if served else 404}


def test_another_address_than_loopback_does_not_get_it_of_itself(guarded: dict[str, Any]) -> None:
    assert Settings(host="127.0.0.1").shows_pages()
    assert not Settings(host="0.0.0.0").shows_pages()  # noqa: S104 - nothing listens there
    assert not Settings(host="127.0.0.1", **guarded).shows_pages()


def test_where_callers_need_a_token_no_decision_is_explained_without_one(guarded: dict[str, Any]) -> None:
    client = create_app(Settings(pages="on", **guarded)).test_client()
    assert b'data-explains="false"' in client.get("/").data
    assert client.post("/explain/gluteal-hamstring-pain", json={}).status_code == 404


def test_a_decision_is_explained_rule_by_rule(client: FlaskClient) -> None:
    assert b'data-explains="true"' in client.get("/").data
    told = client.post("/explain/gluteal-hamstring-pain", data=client.get("/demo/patients/cauda-equina").data)
    rules = {rule["id"]: rule for rule in json.loads(told.data)["recommendations"]}
    assert {rule["verdict"] for rule in rules.values()} == {"yes", "no", "cannot-tell"}
    assert any(
        rule["verdict"] == "yes" and "saddle-numbness" in [finding["id"] for finding in rule["findings"]]
        for rule in rules.values()
    )


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/explain/none", b"{}", 400), ("/explain/gluteal-hamstring-pain", b"{", 400)],
)
def test_what_cannot_be_explained_is_refused_as_an_operation_outcome(
    client: FlaskClient, path: str, body: bytes, status: int
) -> None:
    answer = client.post(path, data=body)
    assert answer.status_code == status
    assert json.loads(answer.data)["resourceType"] == "OperationOutcome"


def test_a_body_over_the_limit_is_not_explained() -> None:
    small = create_app(Settings(body_limit=1_000)).test_client()
    assert small.post("/explain/gluteal-hamstring-pain", data=b" " * 1_001).status_code == 413


@pytest.mark.parametrize("path", ["/", *(path for path in DATA if path.startswith("/demo/"))])
def test_nothing_but_the_service_itself_may_be_asked_by_the_page(client: FlaskClient, path: str) -> None:
    policy = dict(
        part.strip().partition(" ")[::2] for part in client.get(path).headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}


def test_the_page_holds_no_script_and_no_style_of_its_own(client: FlaskClient) -> None:
    text = client.get("/").get_data(as_text=True)
    assert not re.search(r"<style|\son\w+=|\sstyle=|<script(?![^>]*\ssrc=)", text)
    for name in re.findall(r'(?:src|href)="(demo/files/[^"]+)"', text):
        assert client.get(f"/{name}").status_code == 200, name


@pytest.mark.parametrize("path", sorted(FILES.glob("*.js")), ids=lambda path: path.name)
def test_no_module_reads_text_as_html_or_code_or_names_another_host(path: Path) -> None:
    text = path.read_text("utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\.style\b", text
    )
    assert not re.search(r"""(?:import|fetch|post|read)\(?[^;\n]*["'`]https?:""", text)
    for name in re.findall(r'from "\./([^"]+)"', text):
        assert (FILES / name).is_file(), name


def test_each_made_up_patient_has_a_name_a_story_and_the_chart_of_its_fixture(
    client: FlaskClient, repository: Path
) -> None:
    listed = got(client, "/demo/patients")
    assert {path.relative_to(REQUESTS).with_suffix("").as_posix() for path in REQUESTS.rglob("*.json")} == {
        each["name"] for each in listed["patients"]
    }
    assert listed["clock"][:19] == (repository / "fixtures" / "clock.txt").read_text("utf-8")[:19]
    assert len({each["title"] for each in listed["patients"]}) == len(listed["patients"])
    [equina] = [each for each in listed["patients"] if each["name"] == "cauda-equina"]
    assert equina["title"] == "Dana Reyes, 38"
    assert equina["group"] == "Today"
    for each in listed["patients"]:
        body = client.get(f"/demo/patients/{each['name']}").data
        assert body == (repository / "fixtures" / "requests" / f"{each['name']}.json").read_bytes(), each["name"]
        assert json.loads(body)["hook"] == each["hook"]
        assert 20 <= len(each["story"]) <= 180


@pytest.mark.parametrize("name", ["no-such", "..%2fclock.txt", "%2e%2e/cases/patients.toml", "cauda-equina.json"])
def test_nothing_but_a_listed_patient_is_given(client: FlaskClient, name: str) -> None:
    assert client.get(f"/demo/patients/{name}").status_code == 404


@pytest.mark.parametrize(("fhir_access", "fetches"), [("on", "true"), ("off", "false")])
def test_the_address_of_a_fhir_server_is_asked_for_where_the_service_reads_any(fhir_access: str, fetches: str) -> None:
    text = create_app(Settings(fhir_access=fhir_access)).test_client().get("/").get_data(as_text=True)
    assert f'data-fetches="{fetches}"' in text


def test_the_other_pages_are_one_click_away(client: FlaskClient, guarded: dict[str, Any]) -> None:
    links = re.findall(r'<a href="([a-z.]+)"', client.get("/").get_data(as_text=True))
    assert {"knowledge.html", "docs", "insights"} <= set(links)
    assert [client.get(f"/{link}").status_code for link in links] == [200] * len(links)
    without = create_app(Settings(pages="on", **guarded)).test_client().get("/").get_data(as_text=True)
    assert 'href="insights"' not in without


def test_the_description_of_the_api_is_drawn_under_the_same_policy_but_for_pictures_in_its_style(
    client: FlaskClient, repository: Path
) -> None:
    text = client.get("/docs").get_data(as_text=True)
    assert not re.search(r"<style|\son\w+=|\sstyle=|<script(?![^>]*\ssrc=)", text)
    for name in re.findall(r'(?:src|href)="([a-z]+/files/[^"]+)"', text):
        assert client.get(f"/{name}").status_code == 200, name
    # What is framed at `/` is not framed here.
    strict = client.get("/").headers["Content-Security-Policy"].partition("; frame-src ")[0]
    policy = client.get("/docs").headers["Content-Security-Policy"]
    assert policy == strict.replace("img-src 'self'", "img-src 'self' data:")
    assert client.get("/openapi.yaml").data == (repository / "openapi.yaml").read_bytes()


def test_the_vocabulary_has_every_finding_and_every_order(client: FlaskClient) -> None:
    knowledge, words = packaged(), got(client, "/demo/vocabulary")
    assert words["system"] == LOCAL_SYSTEM
    assert [each["id"] for each in words["findings"]] == list(knowledge.findings)
    assert [each["key"] for each in words["orders"]] == list(knowledge.orders)
    assert words["codes"]["http://snomed.info/sct|279043006"] == ["buttock-pain"]
    assert words["answers"]["http://snomed.info/sct|373066001"] is True
    assert words["sides"]["http://snomed.info/sct|7771000"] == "left"
    assert all(set(order["sides"]) == set(knowledge.wording.sides) for order in words["orders"])


def test_markup_in_the_knowledge_is_text_on_the_page(tmp_path: Path) -> None:
    shutil.copytree(PACKAGED, tmp_path / "knowledge")
    path = tmp_path / "knowledge" / "guideline.toml"
    path.write_text(
        re.sub(r'(?m)^title = ".*"$', "title = '<script>alert(1)</script>'", path.read_text("utf-8"), count=1), "utf-8"
    )
    text = create_app(Settings(knowledge_dir=tmp_path / "knowledge")).test_client().get("/").get_data(as_text=True)
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_the_page_explains_with_the_clock_of_the_service() -> None:
    knowledge = packaged()
    app = create_app(Settings(pages="off"))
    app.register_blueprint(
        demo_ehr.create_blueprint(knowledge, Explainer(knowledge, lambda: CLOCK), 1_000_000), url_prefix="/p"
    )
    body = app.test_client().get("/p/demo/patients/cauda-equina").data
    assert json.loads(app.test_client().post("/p/explain/gluteal-hamstring-pain", data=body).data)["at"].startswith(
        CLOCK.date().isoformat()
    )


def test_the_demo_shows_its_pages_to_the_network_and_says_what_it_is(client: FlaskClient) -> None:
    demo = create_app(Settings(demo="on", host="0.0.0.0"), clock=lambda: CLOCK).test_client()  # noqa: S104

    assert [demo.get(path).status_code for path in DATA] == [200] * len(DATA)
    assert b"Demo, of made-up patients alone" in demo.get("/").data
    assert b"Demo, of made-up patients alone" not in client.get("/").data


def test_the_demo_takes_no_file_of_clients(guarded: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="the demo is for made-up patients and takes no clients"):
        create_app(Settings(demo="on", **guarded))


@pytest.mark.parametrize(("demo", "asked"), [("off", True), ("on", False)])
def test_the_demo_reads_no_fhir_server_for_a_stranger(*, demo: str, asked: bool) -> None:
    body = json.loads((REQUESTS / "cauda-equina.json").read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as fhir_server:
        fhir_server.settimeout(0)
        body["prefetch"].pop("medicationRequests", None)
        body["prefetch"].pop("patient")
        body["fhirServer"] = f"http://127.0.0.1:{fhir_server.getsockname()[1]}"
        visited = create_app(Settings(demo=demo, fetch_milliseconds=200), clock=lambda: CLOCK).test_client()
        visited.post("/cds-services/gluteal-hamstring-pain", json=body)
        try:
            fhir_server.accept()[0].close()
            was_asked = True
        except BlockingIOError:
            was_asked = False

    assert was_asked is asked
