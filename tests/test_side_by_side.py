"""Files of tests in several processes: whatever comes of one is told, and none is lost."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PASSES = "def test_passes(): pass\n"


def told(repository: Path, folder: Path, *options: str, **files: str) -> tuple[int, str]:
    """How a run of these files in two processes ends, and what it says."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "tests.side_by_side", "--processes", "2", *options, str(folder)]
    environ = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(repository)}
    ended = subprocess.run(
        [*command, "--rootdir", str(folder), "-c", os.devnull, "-p", "no:cacheprovider"],
        cwd=folder, env=environ, text=True, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    return ended.returncode, ended.stdout


def test_each_test_is_run_once_and_a_failure_is_told_with_its_output(repository: Path, tmp_path: Path) -> None:
    fails = "def test_fails():\n    print('what it wrote')\n    assert [] == [1]\n"
    code, said = told(repository, tmp_path, test_a=PASSES, test_b=fails, test_c=PASSES)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 2 passed" in said
    assert "what it wrote" in said
    assert "assert [] == [1]" in said


def test_a_file_is_of_one_process_and_files_are_of_several(repository: Path, tmp_path: Path) -> None:
    lasts = (
        "import os, pathlib, time\n"
        "def test_writes(): pathlib.Path(__file__ + str(os.getpid())).touch()\n"
        "def test_waits_for_another_process():\n"
        "    while len({each.suffix for each in pathlib.Path(__file__).parent.glob('*.py?*')}) < 2: time.sleep(0.01)\n"
        "def test_is_of_the_same_process(): assert pathlib.Path(__file__ + str(os.getpid())).exists()\n"
    )
    code, said = told(repository, tmp_path, test_a=lasts, test_b=lasts)
    assert (code, re.findall(r"\d+ passed", said)) == (0, ["6 passed"])


@pytest.mark.parametrize(
    "ends", ["import os; os._exit(0)", "import os; os.kill(os.getpid(), 9)", "raise KeyboardInterrupt"]
)
def test_a_process_that_ends_before_its_tests_is_a_failure(repository: Path, tmp_path: Path, ends: str) -> None:
    code, said = told(repository, tmp_path, test_a=f"def test_ends(): {ends}\n", test_b=PASSES)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "FAILED test_a.py::test_ends - The process ended with" in said


def test_with_a_first_failure_no_further_test_begins(repository: Path, tmp_path: Path) -> None:
    fails = f"def test_fails(): assert False\n{PASSES}"
    code, said = told(repository, tmp_path, "-x", test_a=fails, test_b=fails)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "passed" not in said


def test_what_a_group_shares_is_made_once_in_a_process_and_taken_down(repository: Path, tmp_path: Path) -> None:
    conftest = (
        "import os, pathlib, pytest\n"
        "@pytest.fixture(scope='session')\n"
        "def shared():\n"
        "    place = pathlib.Path(__file__).parent / f'made-{os.getpid()}'\n"
        "    place.mkdir()\n"
        "    yield\n"
        "    place.rename(place.with_name(place.name.replace('made', 'ended')))\n"
    )
    uses = "def test_it(shared): pass\n"
    code, said = told(repository, tmp_path, conftest=conftest, test_a=uses, test_b=uses, test_c=uses)
    assert (code, re.findall(r"\d+ passed", said)) == (0, ["3 passed"])
    assert not list(tmp_path.glob("made-*"))
    assert list(tmp_path.glob("ended-*"))
