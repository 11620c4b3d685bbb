"""TLS towards a FHIR server: whose certificates the running service takes, and what it says of the others."""

import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.certificates import Authority
from tests.serving import Answer, running_for

PATIENT_ID = "of-tls"
GIVEN = "very-secret-token"


class FhirHandler(http.server.BaseHTTPRequestHandler):
    """One patient, and searches that find nothing; keeps the paths that it was asked for."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        read = self.path.startswith("/fhir/Patient/")
        body = (
            {"resourceType": "Patient", "id": PATIENT_ID} if read else {"resourceType": "Bundle", "type": "searchset"}
        )
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/fhir+json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def fhir_server(context: ssl.SSLContext) -> Iterator[tuple[str, list[str]]]:
    """Its base URL at the name `localhost`, and what it was asked for."""
    asked: list[str] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (FhirHandler,), {"asked": asked}))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"https://localhost:{server.server_port}/fhir", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def request(base_url: str) -> dict[str, Any]:
    return {
        "hook": "patient-view",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "fhirServer": base_url,
        "fhirAuthorization": {"access_token": GIVEN, "token_type": "Bearer", "scope": "user/*.read"},
        "context": {"userId": "Practitioner/7", "patientId": PATIENT_ID},
    }


Servers = dict[str, tuple[str, list[str]]]
Site = tuple[Callable[[dict[str, Any]], Answer], Callable[[], str], Servers]


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The service, which is told of a site's own authority by SSL_CERT_FILE, and three FHIR servers."""
    ours, theirs = (Authority(tmp_path_factory.mktemp(name)) for name in ("ours", "theirs"))
    contexts = {
        "trusted": ours.server("localhost"),
        "of another name": ours.server("ehr.example.org"),
        "of another authority": theirs.server("localhost"),
    }
    bundle = tmp_path_factory.mktemp("bundle") / "authority.pem"
    bundle.write_bytes(ours.pem)
    with ExitStack() as stack:
        servers = {name: stack.enter_context(fhir_server(context)) for name, context in contexts.items()}
        urls = [url for url, _ in servers.values()]
        variables = {"SSL_CERT_FILE": str(bundle), "SITBONE_FETCH_MILLISECONDS": "2000"}
        call, stop = stack.enter_context(running_for(repository, tmp_path_factory.mktemp("site"), urls, **variables))
        yield call, stop, servers


def test_a_server_with_a_certificate_of_the_authority_in_ssl_cert_file_is_read(site: Site) -> None:
    call, _, servers = site
    url, asked = servers["trusted"]
    answer = call(request(url))

    assert answer.status == 200
    assert set(answer.body["extension"]["org.sitbone.assessment"]["data"].values()) == {"fetched"}
    assert f"/fhir/Patient/{PATIENT_ID}" in asked


@pytest.mark.parametrize("server", ["of another name", "of another authority"])
def test_a_server_with_another_certificate_is_asked_for_nothing_and_the_refusal_says_why(
    site: Site, server: str
) -> None:
    call, _, servers = site
    url, asked = servers[server]
    answer = call(request(url))

    said = json.dumps(answer.body)
    assert (answer.status, answer.body["resourceType"]) == (412, "OperationOutcome")
    assert "not fetched: certificate" in said
    assert "failed" in said
    assert asked == []
    assert not any(secret in said for secret in (PATIENT_ID, GIVEN, "localhost", "ehr.example.org"))


def test_the_log_tells_of_refused_certificates_by_the_states_alone(site: Site) -> None:
    call, stop, servers = site
    call(request(servers["of another name"][0]))
    log = stop()

    assert json.loads(log.splitlines()[-1])["states"]["observations"] == "failed"
    assert not any(secret in log for secret in (PATIENT_ID, GIVEN, "localhost", "ehr.example.org"))
