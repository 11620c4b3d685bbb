"""When a test may be left out, and when not."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "needs_system(command, reason): the test runs this command of the system; without it the test is left out,"
        " except where CI=true: there it fails, unless CI_WITHOUT names the command.",
    )


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
