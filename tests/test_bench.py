"""The bench: that it runs and gives figures. How fast anything is, no test says."""

import json
import math
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest

from bench import shadow
from bench.__main__ import CASES, REPOSITORY, SERVICE, Case, Figures, Server, measure
from bench.audit import measure as measure_record
from bench.charts import SIZES, Chart, requests
from bench.second_opinion import measure as measure_pages
from bench.suspension import measure as measure_suspensions
from tests.preloaded import Process, loaded
from tests.serving import patiently

SMALL = Chart("small", *SIZES["small"], complaint=True)


@pytest.fixture
def quick_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has services begin where the product is loaded already, and what else the bench starts as ever."""

    def start(command: list[str], *, env: dict[str, str] | None = None, **given: Any) -> Any:
        if command != SERVICE:
            return subprocess.Popen(command, env=env, **given)
        log: IO[bytes] = given["stderr"]
        with Path(os.devnull).open("r+b") as null:
            streams = null.fileno(), null.fileno(), log.fileno()
            return Process(loaded(), command[-1], cwd=given["cwd"], env=env or {}, streams=streams)

    monkeypatch.setattr("bench.__main__.subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": start}))


def body(call: bytes) -> bytes:
    head, _, sent = call.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(sent)}".encode() in head
    return sent


def ids(sent: bytes) -> set[str]:
    call = json.loads(sent)
    entries = call["prefetch"]["conditions"]["entry"] + call["prefetch"]["observations"]["entry"]
    return {call["hookInstance"]} | {entry["resource"]["id"] for entry in entries}


def test_fresh_calls_share_no_id_and_seen_calls_are_the_same_to_the_byte() -> None:
    fresh, seen = requests(SMALL, fresh=True), requests(SMALL, fresh=False)

    assert not ids(body(next(fresh))) & ids(body(next(fresh)))
    assert next(seen) == next(seen)


def test_each_call_carries_a_token_of_its_own_and_the_calls_end_with_the_tokens() -> None:
    heads = [call.partition(b"\r\n\r\n")[0] for call in requests(SMALL, fresh=False, tokens=["a", "b"])]

    assert [head.rpartition(b"\r\n")[2] for head in heads] == [b"Authorization: Bearer a", b"Authorization: Bearer b"]


@pytest.mark.parametrize(("size", "kilobytes"), [("small", 28), ("medium", 317), ("long", 3000)])
@pytest.mark.parametrize("complaint", [False, True])
def test_a_chart_has_its_length_and_twenty_findings_only_with_the_complaint(
    size: str, kilobytes: int, *, complaint: bool
) -> None:
    sent = body(next(requests(Chart(size, *SIZES[size], complaint=complaint), fresh=True)))

    assert len(sent) == pytest.approx(kilobytes * 1000, rel=0.25)
    assert sent.count(b"CodeSystem/findings") == (20 if complaint else 0)


@pytest.mark.parametrize(
    ("algorithm", "beside"), [(None, None), ("ES384", None), (None, REPOSITORY)], ids=["bare", "trust", "checkout"]
)
def test_the_bench_gives_a_figure_for_everything_it_measures(
    algorithm: str | None, beside: Path | None, request: pytest.FixtureRequest
) -> None:
    if algorithm or beside:
        request.getfixturevalue("quick_start")
    (row,) = measure([Case(SMALL, fresh=True)], seconds=0.2, rounds=1, algorithm=algorithm, beside=beside)

    figures = [getattr(server, each.name) for server in (row.bare, row.service) for each in fields(Figures)]
    figures += [row.ratio, row.lowest_ratio, row.highest_ratio, row.cpu_ratio, row.half_load_p50, row.half_load_p99]
    assert all(math.isfinite(figure) and figure >= 0 for figure in figures)
    assert row.ratio == pytest.approx(row.service.calls_per_second / row.bare.calls_per_second)


def test_another_checkout_runs_by_its_own_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SITBONE_AUDIT", "off")
    told = []
    for checkout in (REPOSITORY, tmp_path):
        script = "import os, sys; sys.exit(os.environ.get('SITBONE_AUDIT', 'none'))"
        server = Server([sys.executable, "-c", script], checkout=checkout)
        with pytest.raises(RuntimeError) as ended:
            server.wait()
        server.stop()
        told.append(str(ended.value).split()[-1])
    assert told == ["off", "none"]


def test_every_size_is_measured_quiet_and_with_the_complaint_fresh_and_seen_before() -> None:
    assert len(CASES) == len(set(CASES)) == len(SIZES) * 2 * 2


@pytest.mark.usefixtures("quick_start")
def test_what_clinicians_wait_for_is_measured_beside_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    # An EHR that answers at once, so that each of them comes as far as to save.
    monkeypatch.setattr("bench.second_opinion._EHR_SECONDS", 0.0)
    figures = measure_pages(seconds=6, clinicians=1, rounds=1, pause=0.15, rate=5)

    named = [each.name for each in fields(figures) if not each.name.startswith("ratio")]
    assert all(math.isfinite(getattr(figures, name)) and getattr(figures, name) > 0 for name in named)
    # Of one round there is nothing to draw.
    assert figures.ratio_beside == pytest.approx([figures.beside / figures.alone] * 3)
    assert figures.ratio_elsewhere == pytest.approx([figures.elsewhere / figures.alone] * 3)


@pytest.mark.usefixtures("quick_start")
def test_calls_with_and_without_a_second_knowledge_are_set_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "ROUND", 0.1)
    count = shadow._compared

    def counted(server: Server) -> dict[str, int]:
        """What was compared, which waits for a processor that nobody needs."""
        assert patiently(lambda: count(server).get("same", 0) > 0)
        return count(server)

    monkeypatch.setattr(shadow, "_compared", counted)
    figures = shadow.measure(seconds=0.2)

    assert figures.rounds == 2
    assert figures.compared > 0
    of_each = (figures.p50, figures.p99, figures.cpu)
    assert all(math.isfinite(each) and each > 0 for of in of_each for each in of)
    for found, place in ((figures.beside, 2), (figures.by_chance, 1)):
        assert found.ratio == pytest.approx(figures.p99[place] / figures.p99[0])
        assert 0 < found.low <= found.high


def test_the_cost_of_the_record_is_set_beside_the_whole_call() -> None:
    figures = measure_record(calls=10)

    assert figures["whole call"] > figures["for the audit trail"] > 0
    assert all(each > 0 for each in figures.values())


@pytest.mark.usefixtures("quick_start")
def test_how_soon_a_suspension_holds_is_measured_on_this_and_on_another_host() -> None:
    took = measure_suspensions(rounds=1, rate=5)

    assert took.keys() == {"the command", "this host", "another host"}
    assert all(math.isfinite(seconds) and seconds > 0 for of in took.values() for seconds in of)
