"""When a test may be left out, and when not; what tests share."""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests import once

pytest_plugins = ["tests.side_by_side"]
# How long an example takes is no property: the machine may have other work.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_finish() -> None:
    """Take what was collected, which stays to the end, out of what the garbage collector looks through again and again:
    with twelve thousand tests that takes up to a third of the time."""
    gc.collect()
    gc.freeze()


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
    with once.made_once() if "service.app" in sys.modules else nullcontext():
        yield


@pytest.fixture(scope="session", autouse=True)
def _read_once() -> Iterator[None]:
    """What the loader has read before is not read again."""
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
