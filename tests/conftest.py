"""When a test may be left out, and when not; which tests may run side by side, and what they share."""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

# How long an example takes is no property: the machine may have other work.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Until everything is collected, which stays to the end: to look through it again and again took a quarter of the time.
gc.disable()

REPOSITORY = Path(__file__).resolve().parents[1]
# Their tests wait for a deadline, or give all processors work to do: never two of them at once.
ONE_AFTER_THE_OTHER = frozenset(
    {
        "test_bench.py",
        "test_capacity.py",
        "test_fhir_access.py",
        "test_fhir_server.py",
        "test_load.py",
        "test_outbound.py",
        "test_proxies.py",
        "test_audit_faults.py",
    }
)
# What takes longest begins first, the longest before all, so that no process waits for another at the end: four seconds
# of a processor and more. A browser is started for test_demo_ehr.py, and what needs one follows it, which is the second
# longest chain: not at the very start, as it waits part of the time, and so do the tests that go one after the other.
_LONGEST_FIRST = (
    "test_container.py",
    "test_proofs.py",
    "test_demo_ehr.py",
    "test_bad_input.py",
    "test_consistency.py",
    "test_silence.py",
    "test_imaging_referral.py",
    "test_page.py",
    "test_reload.py",
    "test_population.py",
    "test_audit.py",
    "test_serve.py",
    "test_trust.py",
    "test_schemathesis.py",
    "test_muting.py",
    "test_sensitivity.py",
    "test_shadow.py",
    "test_next_question.py",
    "test_cases.py",
    "test_adaptive_form.py",
    "test_knowledge.py",
    "test_portable.py",
    "test_launch.py",
    "test_digests.py",
    "test_knowledge_commands.py",
    "test_metrics.py",
    "test_would_change.py",
    "test_card_ids.py",
    "test_page_process.py",
    "test_old_imaging.py",
    "test_readers_agree.py",
    "test_sbom.py",
    "test_guides.py",
    "test_author_report.py",
    "test_case_reading.py",
    "test_insights_page.py",
    "test_missing_names.py",
    "test_sameness.py",
    "test_suspension.py",
    "test_suspended.py",
    "test_cli.py",
    "test_saving.py",
    "test_compose.py",
    "test_questions.py",
    "test_openapi.py",
)


class _ByFile(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """Gives each process whole files, as their tests share servers; those with a browser to one, and some files to one
    process alone.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = Path(super()._split_scope(nodeid))
        if file.name in ONE_AFTER_THE_OTHER:
            return "one after the other"
        return "browser" if file.parent.name == "browser" else str(file)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: the process whose tests go one after the other waits most of the time."""
    return min(len(os.sched_getaffinity(0)) + 1, 4)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    return _ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        turns = {name: turn for turn, name in enumerate(_LONGEST_FIRST)} | dict.fromkeys(ONE_AFTER_THE_OTHER, -1)
        items.sort(key=lambda item: turns.get(item.path.name, len(turns)))


def pytest_collection_finish() -> None:
    """Take what was collected, which stays to the end, out of what the garbage collector looks through again and again:
    with twelve thousand tests that takes up to a third of the time. Let it look more seldom, as it does in the service:
    that is some 8 % of the CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "needs_system(command, reason): the test runs this command of the system; without it the test is left out,"
        " except where CI=true: there it fails, unless CI_WITHOUT names the command.",
    )


@pytest.fixture(scope="session", autouse=True)
def _temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for the temporary files of this run. A service that is given no folder takes one by its port, and what
    another run, or another user, left there for that port is not its own."""
    folder = str(tmp_path_factory.mktemp("tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs_system"):
        command, reason = marker.args
        if shutil.which(command) is None:
            if command in os.environ.get("CI_WITHOUT", "").split():
                pytest.skip(f"{command} is said not to be here: {reason}")
            _leave_out(f"{command} is not installed: {reason}")


def _leave_out(why: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"left out although CI=true: {why}", pytrace=False)
    pytest.skip(why)


@pytest.fixture
def leave_out() -> Callable[[str], NoReturn]:
    """Skips the running test for want of something of the system, or fails it: where CI=true nobody reads skips."""
    return _leave_out


@pytest.fixture(scope="session", autouse=True)
def _made_once() -> Iterator[None]:
    """What every application makes of the packaged knowledge is made once, where any test of this process makes one."""
    from tests import once  # noqa: PLC0415 - the process that only hands out the tests need not load the product

    with once.made_once() if "service.app" in sys.modules else nullcontext():
        yield


@pytest.fixture(scope="session", autouse=True)
def _read_once() -> Iterator[None]:
    """What the loader has read before is not read again."""
    from tests import once  # noqa: PLC0415

    with once.read_once():
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real charts and requests beside the repository: a cross-check that a clone can do without."""
    folder = Path(os.environ.get("SITBONE_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder of real charts and requests at {folder.name}/ beside the repository (SITBONE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the source tree."""
    return REPOSITORY
