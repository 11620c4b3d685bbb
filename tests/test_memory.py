"""Freed memory is kept while the service works, and given back when it has nothing to do; no call keeps its chart."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from service.app import create_app
from service.chart.case import Case
from service.server import memory
from service.server.memory import FreedMemory
from service.service_ids import DIAGNOSIS
from service.settings import Settings
from tests.charts import CLOCK

# Fifty megabytes in small blocks, below which glibc would give them back by itself.
CODE = """
from service.server.memory import FreedMemory, keep_freed_memory, resident
keep_freed_memory()
freed = FreedMemory()
blocks = [bytes(2_000) for _ in range(25_000)]
del blocks
print(resident())
freed.give_back(1.0)
print(resident())
"""


@pytest.mark.skipif(not hasattr(memory._LIBRARY, "malloc_trim"), reason="the C library has no malloc_trim")
def test_what_was_freed_is_kept_until_there_is_nothing_to_do() -> None:
    kept, given_back = map(int, subprocess.check_output([sys.executable, "-c", CODE], text=True).split())
    assert kept - given_back > 40_000_000


def test_it_is_looked_at_once_a_second_and_given_back_only_where_there_is_a_surplus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes, given = [100_000_000], list[int]()
    monkeypatch.setattr(memory, "resident", lambda: sizes[0])
    monkeypatch.setattr(memory, "give_back", lambda: given.append(0))
    freed = FreedMemory()
    freed.give_back(1.0)
    assert given == []
    sizes[0] = 120_000_000
    freed.give_back(1.5)
    assert given == []
    freed.give_back(2.0)
    assert given == [0]
    freed.give_back(3.0)
    assert given == [0]


def test_no_chart_waits_for_the_garbage_collector_once_its_call_is_answered(repository: Path) -> None:
    """The collector comes once in a hundred thousand objects: until then there would be hundreds of charts."""
    requests = repository / "fixtures" / "requests"
    client = create_app(Settings(), clock=lambda: CLOCK).test_client()
    kept: dict[str, int] = {}
    gc.collect()
    # What is there already need not be looked through for each call.
    gc.freeze()
    gc.disable()
    try:
        for file in sorted(requests.rglob("*.json")):
            service = DIAGNOSIS if file.parent == requests else file.parent.name
            answer = client.post(
                f"/cds-services/{service}", data=file.read_bytes(), content_type="application/json", buffered=True
            )
            assert answer.status_code == 200
            del answer
            if cases := sum(isinstance(each, Case) for each in gc.get_objects()):
                kept[file.stem] = cases
                gc.collect()
    finally:
        gc.enable()
    assert not kept
