"""The service with a client that has an app, and the EHR that it is registered at."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from cryptography.fernet import Fernet
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cds_hooks.trust.signing import key_set, new_key
from service.app import create_app
from service.settings import Settings
from tests.second_opinion.ehr import LAUNCH, SECRET, Ehr

PUBLIC = "https://cds.example.org/pain"
KEY = Fernet.generate_key().decode()
CALLER = new_key("ES384", "caller")
APP = new_key("ES384", "app")
FRAMES = "https://ehr.example.org"


class Time:
    """A clock that tests put forward; it begins now, as the EHR has a real one."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(datetime.now(UTC).timestamp() + self.ahead, UTC)


@dataclass
class Page:
    """A page as a browser without a script has it: what it says, and what its buttons send."""

    response: TestResponse
    site: "Site"
    client: FlaskClient

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def html(self) -> str:
        return self.response.get_data(as_text=True)

    @property
    def text(self) -> str:
        """What stands on it, in one line."""
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", self.html)).split())

    def hidden(self) -> dict[str, str]:
        found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', self.html)
        return {name: unescape(value) for name, value in found}

    def buttons(self) -> list[str]:
        return [unescape(value) for value in re.findall(r'<button[^>]* name="do" value="([^"]*)"', self.html)]

    def press(self, do: str, **fields: str) -> "Page":
        """Press a button, which has to be there."""
        assert do in self.buttons(), f"no button {do} among {self.buttons()}"
        return self.send(do, **fields)

    def send(self, do: str, **fields: str) -> "Page":
        return self.site.post(self.client, "/app/opinion", {**self.hidden(), "do": do, **fields})

    def cards(self) -> list[tuple[str, str]]:
        """Summary and detail of each card, as text."""
        found = re.findall(
            r'<span class="summary">(.*?)</span>.*?<div class="detail">(.*?)</div>\n</article>', self.html, re.DOTALL
        )
        return [(plain(summary), plain(detail)) for summary, detail in found]


def plain(text: str) -> str:
    """The words of HTML or of a card's Markdown, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>|\*\*|\\(?=[!-/:-@\[-`{-~])", " ", text)).replace(" .", ".").split())


@dataclass
class Site:
    """The service, its EHR, and how a browser goes from one to the other."""

    app: Flask
    ehr: Ehr
    time: Time
    settings: Settings
    base: str = PUBLIC
    sent_to: list[str] = field(default_factory=list)

    def browser(self) -> FlaskClient:
        return self.app.test_client()

    def get(self, client: FlaskClient, path: str, query: Mapping[str, str] | None = None) -> TestResponse:
        return client.get(path, query_string=dict(query or {}), base_url=self.base)

    def post(self, client: FlaskClient, path: str, form: Mapping[str, str]) -> Page:
        return Page(client.post(path, data=dict(form), base_url=self.base), self, client)

    def launched(self, client: FlaskClient, **changed: str) -> TestResponse:
        """The answer to a launch, from a browser that keeps cookies."""
        query = {"iss": self.ehr.iss, "launch": LAUNCH, **changed}
        response = self.get(client, "/app/launch", query)
        if response.status_code == 302 and response.headers["Location"].startswith(f"{self.base}/app/launch"):
            response = self.get(client, "/app/launch", {**query, "cookie": "set"})
        return response

    def authorized(self, client: FlaskClient, **changed: str) -> dict[str, str]:
        """What the EHR sends the browser back with."""
        launched = self.launched(client, **changed)
        assert launched.status_code == 302, launched.get_data(as_text=True)
        answer = requests.get(launched.headers["Location"], allow_redirects=False, timeout=10)
        assert answer.status_code == 302, answer.text
        assert answer.headers["Location"].startswith(self.ehr.redirect_uri + "?")
        return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["Location"]).query).items()}

    def called_back(self, client: FlaskClient, given: Mapping[str, str], name: str = "clinic") -> Page:
        return Page(self.get(client, f"/app/callback/{name}", given), self, client)

    def open(self, client: FlaskClient | None = None) -> Page:
        """The page, by a whole launch."""
        client = client or self.browser()
        return self.called_back(client, self.authorized(client))


def chart_of(name: str) -> dict[str, Any]:
    path = Path(__file__).parents[2] / "fixtures" / "requests" / f"{name}.json"
    chart: dict[str, Any] = json.loads(path.read_text("utf-8"))
    chart["prefetch"]["patient"]["name"] = [{"use": "official", "family": "Sample", "given": ["Pat"]}]
    return chart


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeSite]:
    """Makes a service with its EHR: `make_site(chart, auth=..., **members of the app's entry)`."""
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    (tmp_path / "caller.json").write_text(json.dumps(key_set(CALLER)))
    (tmp_path / "app.json").write_text(json.dumps(APP))
    (tmp_path / "secret.txt").write_text(SECRET + "\n")
    with ExitStack() as stack:

        def make(
            chart: str = "office-worker-of-42", *, auth: str = "private_key_jwt", mode: str = "live", **app: Any
        ) -> Site:
            ehr = stack.enter_context(Ehr(chart_of(chart)).running())
            ehr.redirect_uri = f"{PUBLIC}/app/callback/clinic"
            ehr.app_keys = key_set(APP)
            settings = Settings(
                draft="show",
                clients=tmp_path / "clients.toml",
                store=tmp_path,
                public_base_url=PUBLIC,
                app_keys=(KEY,),
                audit="off",
                log_level="info",
                mode=mode,
            )
            write_clients(settings.clients or tmp_path, {"clinic": (ehr.iss, auth, app)})
            time = Time()
            return Site(create_app(settings, clock=time), ehr, time, settings)

        yield make


def write_clients(file: Path, clients: Mapping[str, tuple[str, str, Mapping[str, Any]]]) -> None:
    """A file of clients with these apps: iss, authentication, and further members of the entry by name."""
    ids = {"private_key_jwt": "private", "client_secret_basic": "secret", "public": "public"}
    needs = {"private_key_jwt": {"key_file": "app.json"}, "client_secret_basic": {"secret_file": "secret.txt"}}
    lines: list[str] = []
    for name, (iss, auth, app) in clients.items():
        host = urlsplit(iss).hostname
        entry = {
            "issuers": [f"https://{name}.example.org"],
            "jwks_file": "caller.json",
            "fhir_servers": [iss],
            "internal_hosts": [host],
        }
        members = {
            "iss": iss,
            "client_id": ids[auth],
            "auth": auth,
            "frame_origins": [FRAMES],
            **needs.get(auth, {}),
            **app,
        }
        for title, table in ((name, entry), (f"{name}.app", members)):
            lines += [f"[clients.{title}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    file.write_text("\n".join(lines))


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site()
