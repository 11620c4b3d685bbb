"""What clinicians wait for on the second opinion, and what hooks wait for beside them.

Twenty clinicians launch the page, answer, save and launch anew, each in a time of its own, at an EHR whose every answer
takes 200 ms; the service has two workers. Hooks are called at a steady rate all the time: in turn alone, beside
clinicians on the pages of another service on the same machine, and beside clinicians on the pages of the same service,
so that what else the machine does meets all three. What the pages of another service cost is what one machine for
everything costs; the rest is what hooks and pages have in common.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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

ROUNDS = 20
# How often the rounds are drawn anew to see how sure a ratio is.
_DRAWS = 400
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
    """In milliseconds: what 95 of 100 clinicians wait at most; of all rounds together the p95 of hooks alone, beside
    the pages of another service, and beside those of the same; the last two as ratios to the first, each with the
    range of 90 of 100 ratios of rounds that are drawn again."""

    launch: float
    answer: float
    save: float
    alone: float
    elsewhere: float
    beside: float
    ratio_elsewhere: tuple[float, float, float]
    ratio_beside: tuple[float, float, float]
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
    """`seconds` is for all rounds together; each clinician thinks for about `pause` seconds before an answer, half to
    one and a half of it; `rate` says how often a hook is called a second. `gives_way` is called once the services run,
    before this process works as clinicians and as EHR.

    Raises RuntimeError where the service did not start, or answered a call or a clinician with something else.
    """
    with ExitStack() as running:
        ehr = running.enter_context(_ehr())
        trust = Trust.make("ES384")
        server, other = (_serving(running, trust, ehr) for _ in range(2))
        load = Load()
        running.callback(load.stop)
        took = [list[list[float]]() for _ in range(3)]
        part = seconds / rounds / 3
        gives_way()
        # What is loaded at the first call, by each process, is nobody's wait.
        for each in (server, other):
            for _ in range(4):
                _Clinician(each.port, ehr).open()
            load.offer(each, _HOOKS, 1, rate)
        same = _Practice(server, ehr, pause)
        another = _Practice(other, ehr, pause)
        for one in (another, same):
            running.enter_context(one.open(clinicians))
        for _ in range(rounds):
            for calls, practice in zip(took, (None, another, same), strict=True):
                if practice:
                    practice.working.set()
                calls.append(load.offer(server, _HOOKS, part, rate).took)
                if practice:
                    practice.working.clear()
                # The pages that they wait for are nothing of the next part.
                time.sleep(_EHR_SECONDS * 5)
        if problems := [*another.failed, *same.failed]:
            raise RuntimeError(f"{problems[0]}; the service said:\n{server.last_words()}")
        waits = same.waits
    alone, elsewhere, beside = took
    return Figures(
        launch=_p95(waits.launch),
        answer=_p95(waits.answer),
        save=_p95(waits.save),
        alone=_p95_of(alone),
        elsewhere=_p95_of(elsewhere),
        beside=_p95_of(beside),
        ratio_elsewhere=_ratio(elsewhere, alone),
        ratio_beside=_ratio(beside, alone),
        answers=len(waits.answer),
    )


def _serving(running: ExitStack, trust: Trust, ehr: Ehr) -> Server:
    """A service at whose app this EHR is registered."""
    folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
    server = Server(SERVICE, settings=_settings(trust, folder, ehr))
    running.callback(server.stop)
    server.wait()
    server.trust = trust
    return server


@dataclass
class _Practice:
    """Clinicians on the pages of a service, who think and do nothing else while they are not `working`; `pause` says
    how long they think before an answer, in seconds, half to one and a half of it."""

    server: Server
    ehr: Ehr
    pause: float
    waits: Waits = field(default_factory=Waits)
    failed: list[str] = field(default_factory=list)
    working: threading.Event = field(default_factory=threading.Event)
    _closed: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def open(self, clinicians: int) -> Iterator[None]:
        """With so many of them."""
        everyone = [threading.Thread(target=self._work, args=(each,), daemon=True) for each in range(clinicians)]
        for each in everyone:
            each.start()
        yield
        self._closed.set()
        for each in everyone:
            each.join(_PATIENCE)

    def _work(self, number: int) -> None:
        clinician, own = _Clinician(self.server.port, self.ehr), random.Random(number)  # noqa: S311 - no secret

        def thinks() -> bool:
            """Think; whether the day goes on."""
            while not self._closed.wait(own.uniform(self.pause / 2, self.pause * 3 / 2)):
                if self.working.is_set():
                    return True
            return False

        try:
            while thinks():
                _visit(clinician, self.waits, thinks)
        except (RuntimeError, requests.RequestException) as problem:
            self.failed.append(f"{type(problem).__name__}: {problem}")


def _visit(clinician: _Clinician, waits: Waits, thinks: Callable[[], bool]) -> None:
    """From the launch to the saved answers, each with the time that it took; `thinks` says whether to go on."""
    began = time.perf_counter()
    page = clinician.open()
    waits.launch.append(time.perf_counter() - began)
    for key in _ANSWERS:
        if not thinks():
            return
        began = time.perf_counter()
        page = clinician.press(page, f"set:{key}=yes")
        waits.answer.append(time.perf_counter() - began)
    if thinks():
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


def _p95_of(rounds: Iterable[list[float]]) -> float:
    return _p95([each for took in rounds for each in took])


def _ratio(of: list[list[float]], to: list[list[float]]) -> tuple[float, float, float]:
    """The ratio of two p95 of the same rounds, and its range where those are drawn again."""
    drawn, rounds = random.Random(1), range(len(of))  # noqa: S311 - no secret
    draws = [drawn.choices(rounds, k=len(rounds)) for _ in range(_DRAWS)]
    ratios = sorted(_p95_of(of[n] for n in draw) / _p95_of(to[n] for n in draw) for draw in draws)
    return _p95_of(of) / _p95_of(to), ratios[_DRAWS // 20], ratios[-1 - _DRAWS // 20]


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
    parser.add_argument("--pause", type=float, default=2, help="seconds before each answer, about (default: 2)")
    parser.add_argument("--rate", type=float, default=10, help="calls of a hook a second (default: 10)")
    given = parser.parse_args()
    figures = measure(given.seconds, pause=given.pause, rate=given.rate, gives_way=_give_way)
    print(
        f"{CLINICIANS} clinicians, about {given.pause:g} s before each of {figures.answers} answers, two workers, "
        "p95 in ms:"
    )
    for name in ("launch", "answer", "save"):
        print(f"  {name:8}{getattr(figures, name):8.0f}")
    print(f"a hook, {given.rate:g} calls a second, p95 in ms of {ROUNDS} rounds together, and as a ratio:")
    print(f"  {'alone':10}{figures.alone:6.1f}")
    for name, of, (ratio, low, high) in (
        ("elsewhere", "pages of another service here", figures.ratio_elsewhere),
        ("beside", "pages of the same", figures.ratio_beside),
    ):
        print(f"  {name:10}{getattr(figures, name):6.1f}{ratio:8.2f}   ({low:.2f}-{high:.2f})  {of}")


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as problem:
        sys.exit(str(problem))
