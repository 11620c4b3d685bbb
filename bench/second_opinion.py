"""What clinicians wait for on the second opinion, and what hooks wait for beside them.

Twenty clinicians at once launch the page, answer, save and launch anew, at an EHR whose every answer takes 200 ms; the
service has two workers. Hooks are called at a steady rate all the time, in turn without and beside the clinicians, so
that what else the machine does meets both; the ratio of the hooks' p95 is taken within a round.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

import requests
from cryptography.fernet import Fernet

from bench.__main__ import SERVICE, Case, Load, Server
from bench.charts import CALL, SIZES, Chart
from bench.trust import BASE_URL as _BASE
from bench.trust import Trust
from tests.second_opinion.ehr import LAUNCH, Ehr

ROUNDS = 5
CLINICIANS = 20
_CHART = Path(CALL).parent / "office-worker-of-42.json"
_HOOKS = Case(Chart("small", *SIZES["small"], complaint=True), fresh=True)
_ANSWERS = ("right/pop-at-injury", "right/sudden-onset", "right/sharp-pain")
_HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')
_EHR_SECONDS = 0.2
_PATIENCE = 60.0


@dataclass
class Waits:
    """In seconds: from the launch to the advice, from an answer to the new advice, from "Save" to what became of it."""

    launch: list[float] = field(default_factory=list)
    answer: list[float] = field(default_factory=list)
    save: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Figures:
    """In milliseconds: what 95 of 100 clinicians wait at most, the p95 of hooks without and beside them, the median of
    the rounds; and their ratio, the median, the lowest and the highest."""

    launch: float
    answer: float
    save: float
    quiet: float
    beside: float
    ratio: float
    lowest: float
    highest: float
    answers: int


class _Clinician:
    """A browser at one workplace: it keeps its cookie, and goes where it is sent."""

    def __init__(self, port: int, ehr: Ehr) -> None:
        self._port, self._launch = port, f"{_BASE}/app/launch?iss={ehr.iss}&launch={LAUNCH}"
        self._ehr = ehr
        self._session = requests.Session()
        # Proxies of the environment are not asked.
        self._session.trust_env = False
        # While a clinician thinks, the service may close what is kept open.
        self._session.headers["Connection"] = "close"
        self._cookie = ""

    def open(self) -> str:
        """The page, by a whole launch."""
        url = self._launch
        while True:
            answer = self._get(url)
            if answer.status_code != 302:
                return _page(answer)
            url = answer.headers["Location"]

    def press(self, page: str, do: str) -> str:
        """The page after a button."""
        form = {name: unescape(value) for name, value in _HIDDEN.findall(page)}
        answer = self._session.post(
            self._here(f"{_BASE}/app/opinion"),
            data={**form, "do": do},
            headers={"Cookie": self._cookie},
            timeout=_PATIENCE,
        )
        return _page(answer)

    def save(self, page: str) -> None:
        """Save the answers; the next visit finds the chart as it was."""
        self.press(page, "save")
        for reference in list(self._ehr.created):
            self._ehr.resources.pop(reference, None)

    def _get(self, url: str) -> requests.Response:
        headers = {"Cookie": self._cookie} if url.startswith(_BASE) else {}
        answer = self._session.get(self._here(url), headers=headers, allow_redirects=False, timeout=_PATIENCE)
        # It is for https alone, which ends before the service.
        if kept := answer.headers.get("Set-Cookie"):
            self._cookie = kept.partition(";")[0]
        return answer

    def _here(self, url: str) -> str:
        return url.replace(_BASE, f"http://127.0.0.1:{self._port}", 1)


def _page(answer: requests.Response) -> str:
    if answer.status_code != 200 or 'id="page"' not in answer.text:
        raise RuntimeError(f"expected a page, received {answer.status_code}")
    return answer.text


def measure(
    seconds: float,
    *,
    clinicians: int = CLINICIANS,
    rounds: int = ROUNDS,
    pause: float = 2.0,
    rate: float = 10.0,
    gives_way: Callable[[], object] = lambda: None,
) -> Figures:
    """`seconds` is for all rounds together; each clinician thinks for `pause` seconds before an answer; `rate` says how
    often a hook is called a second. `gives_way` is called once the service runs, before this process works as
    clinicians and as EHR.

    Raises RuntimeError where the service did not start, or answered a call or a clinician with something else.
    """
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        trust = Trust.make("ES384")
        ehr = running.enter_context(_ehr())
        server = Server(SERVICE, settings=_settings(trust, folder, ehr))
        running.callback(server.stop)
        server.wait()
        server.trust = trust
        load = Load()
        running.callback(load.stop)
        waits, ratios, hooks = Waits(), list[float](), list[tuple[float, float]]()
        part = seconds / rounds / 2

        def work(stop: threading.Event, failed: list[str]) -> None:
            clinician = _Clinician(server.port, ehr)
            try:
                while not stop.is_set():
                    _visit(clinician, waits, stop, pause)
            except (RuntimeError, requests.RequestException) as problem:
                failed.append(f"{type(problem).__name__}: {problem}")

        gives_way()
        # What is loaded at the first call, by each worker, is nobody's wait.
        for _ in range(4):
            _Clinician(server.port, ehr).open()
        load.offer(server, _HOOKS, 1, rate)
        for _ in range(rounds):
            quiet = _p95(load.offer(server, _HOOKS, part, rate).took)
            stop, failed = threading.Event(), list[str]()
            everyone = [threading.Thread(target=work, args=(stop, failed), daemon=True) for _ in range(clinicians)]
            for each in everyone:
                each.start()
            beside = _p95(load.offer(server, _HOOKS, part, rate).took)
            stop.set()
            for each in everyone:
                each.join(_PATIENCE)
            if failed:
                raise RuntimeError(f"{failed[0]}; the service said:\n{server.last_words()}")
            hooks.append((quiet, beside))
            ratios.append(beside / quiet)
    return Figures(
        launch=_p95(waits.launch),
        answer=_p95(waits.answer),
        save=_p95(waits.save),
        quiet=statistics.median(quiet for quiet, _beside in hooks),
        beside=statistics.median(beside for _quiet, beside in hooks),
        ratio=statistics.median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
        answers=len(waits.answer),
    )


def _visit(clinician: _Clinician, waits: Waits, stop: threading.Event, pause: float) -> None:
    """From the launch to the saved answers, each with the time that it took."""
    began = time.perf_counter()
    page = clinician.open()
    waits.launch.append(time.perf_counter() - began)
    for key in _ANSWERS:
        if stop.wait(pause):
            return
        began = time.perf_counter()
        page = clinician.press(page, f"set:{key}=yes")
        waits.answer.append(time.perf_counter() - began)
    if not stop.wait(pause):
        began = time.perf_counter()
        clinician.save(page)
        waits.save.append(time.perf_counter() - began)


@contextmanager
def _ehr() -> Iterator[Ehr]:
    """The EHR of the tests, each answer of which takes its time."""
    # It is called by http, on loopback.
    with patch.dict(os.environ, {"AUTHLIB_INSECURE_TRANSPORT": "1"}):
        ehr = Ehr(json.loads(_CHART.read_text("utf-8")))
        ehr.faults.seconds = _EHR_SECONDS
        with ehr.running():
            ehr.redirect_uri = f"{_BASE}/app/callback/bench"
            yield ehr


def _settings(trust: Trust, folder: Path, ehr: Ehr) -> Mapping[str, str]:
    """Those of a service with one client, whose EHR this is."""
    settings = trust.settings(folder)
    host = urlsplit(ehr.iss).hostname
    entry = f'''
    fhir_servers = ["{ehr.iss}"]
    internal_hosts = ["{host}"]
    [clients.bench.app]
    iss = "{ehr.iss}"
    client_id = "public"
    auth = "public"
    write = ["QuestionnaireResponse"]
    '''
    with (folder / "clients.toml").open("a") as clients:
        clients.write(entry)
    return {**settings, "SITBONE_APP_KEYS": Fernet.generate_key().decode(), "SITBONE_AUDIT": str(folder)}


def _p95(took: list[float]) -> float:
    return sorted(took)[(len(took) - 1) * 95 // 100] * 1000 if took else math.nan


def _give_way() -> None:
    """Let every thread of this process run only where nothing else wants to: browsers and the EHR stand elsewhere, and
    what they take of these cores must not be what a hook waits for. Threads that come later do as those that start
    them.
    """
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.second_opinion", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="how long all rounds take together (default: 120)")
    parser.add_argument("--pause", type=float, default=2, help="seconds before each answer (default: 2)")
    parser.add_argument("--rate", type=float, default=10, help="calls of a hook a second (default: 10)")
    given = parser.parse_args()
    figures = measure(given.seconds, pause=given.pause, rate=given.rate, gives_way=_give_way)
    print(
        f"{CLINICIANS} clinicians, {given.pause:g} s before each of {figures.answers} answers, two workers, p95 in ms:"
    )
    for name in ("launch", "answer", "save"):
        print(f"  {name:8}{getattr(figures, name):8.0f}")
    print(f"a hook, {given.rate:g} calls a second, p95 in ms, median of {ROUNDS} rounds:")
    print(f"  {'alone':8}{figures.quiet:8.1f}\n  {'beside':8}{figures.beside:8.1f}")
    print(f"  {'ratio':8}{figures.ratio:8.2f}   ({figures.lowest:.2f}-{figures.highest:.2f})")


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as problem:
        sys.exit(str(problem))
