"""What a newcomer's first commands rest on: packaging, locks, make, the build server's command."""

import itertools
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ONE_AFTER_THE_OTHER

LOCKS = ["requirements.lock", "requirements-dev.lock"]
# A package may be for some processors alone.
PIN = re.compile(r'^([a-z0-9-]+)==(\S+) (?:; platform_machine == "\w+" )?\\$', re.MULTILINE)


def pins(lock: Path) -> dict[str, str]:
    return dict(PIN.findall(lock.read_text()))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9.-]", each)[0].replace(".", "-").lower() for each in requirements}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_each_package_to_a_version_and_hashes_and_names_no_place(repository: Path, lock: str) -> None:
    lines = [
        line for line in (repository / lock).read_text().splitlines() if line and not line.lstrip().startswith("#")
    ]

    assert [
        line for line in lines if not PIN.match(line) and not re.match(r" {4}--hash=sha256:[0-9a-f]{64}", line)
    ] == []
    for before, after in itertools.pairwise(lines):
        assert not PIN.match(before) or "--hash=" in after, before
    assert not re.search(r"https?:|file:/|--index|--find-links|--trusted-host|[ =]/\w", (repository / lock).read_text())


def test_the_locks_hold_what_pyproject_asks_for_and_agree_with_each_other(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    run, develop = (pins(repository / lock) for lock in LOCKS)

    assert names(project["project"]["dependencies"]) <= run.keys()
    # Virtual environments of Python 3.12 and later hold no build backend, and the install must not look for one.
    assert names(project["build-system"]["requires"]) <= run.keys()
    assert names(project["project"]["optional-dependencies"]["dev"]) <= develop.keys()
    # A container is where several hosts share a store; psycopg without its binary half needs a library of the system.
    assert names(project["project"]["optional-dependencies"]["postgresql"]) | {"psycopg-binary"} <= run.keys()
    assert run.items() <= develop.items()


def test_no_development_package_is_in_the_lock_of_the_service(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())

    assert not names(project["project"]["optional-dependencies"]["dev"]) & pins(repository / "requirements.lock").keys()


def test_nothing_that_only_populations_need_is_in_the_image(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = (*project["optional-dependencies"]["population"], *project["optional-dependencies"]["spark"])
    assert not (names([*extras]) | {"duckdb", "pandas", "py4j"}) & pins(repository / "requirements.lock").keys()


@pytest.mark.needs_system("make", "it is how everything here is started")
def test_make_alone_lists_every_target_that_is_meant_for_people(repository: Path) -> None:
    listed = subprocess.run(["make", "-C", repository], capture_output=True, text=True, check=True).stdout

    for target in ("run", "test", "bench", "lock", "format", "clean"):
        assert re.search(rf"^ +make {target} +\w", listed, re.MULTILINE), target


@pytest.mark.needs_system("make", "it is how everything here is started")
@pytest.mark.parametrize(
    ("pretends", "says"),
    [
        (
            "import sys; sys.version_info = (3, 9, 2)",
            r"Sitbone needs Python 3\.11 or newer and \S+ is 3\.9: name another",
        ),
        ("import sys; sys.modules['ensurepip'] = None", r"its venv or ensurepip module is missing: .*python3-venv"),
        ("import sys; sys.modules['venv'] = None", r"its venv or ensurepip module is missing: .*python3-venv"),
    ],
)
def test_a_python_that_will_not_do_is_refused_with_a_clear_sentence(
    repository: Path, tmp_path: Path, pretends: str, says: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n{pretends}\nexec(sys.argv[2])\n")
    python.chmod(0o755)

    refused = subprocess.run(
        ["make", "-C", repository, "check-python", f"PYTHON={python}"], capture_output=True, text=True, check=False
    )

    assert refused.returncode != 0
    assert re.search(says, refused.stderr)
    assert "Traceback" not in refused.stderr


@pytest.mark.needs_system("make", "it is how everything here is started")
def test_a_python_that_is_not_there_is_missed_with_a_clear_sentence(repository: Path) -> None:
    refused = subprocess.run(
        ["make", "-C", repository, "check-python", "PYTHON=no-such-python"], capture_output=True, text=True, check=False
    )

    assert refused.returncode != 0
    assert "There is no no-such-python here: name a Python of 3.11 or newer" in refused.stderr


@pytest.mark.needs_system("make", "it is how everything here is started")
def test_clean_removes_whatever_is_left_out_of_version_control_but_what_a_site_has_put_there(
    repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "Makefile").write_text((repository / "Makefile").read_text())
    for folder in (".", "tests/ehr", "tests/portable"):
        for line in (repository / folder / ".gitignore").read_text().splitlines():
            if not line.startswith("#"):
                (tmp_path / folder / line.strip("/").replace("*", "any") / "made").mkdir(parents=True)

    subprocess.run(["make", "-C", tmp_path, "clean"], capture_output=True, check=True)

    of_a_site = {f"{folder}{made}" for folder in ("secrets", "sitbone") for made in ("", "/made")}
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == {"Makefile", "tests", "tests/ehr", "tests/portable"} | of_a_site


def build_server(repository: Path, folder: Path, make: str) -> subprocess.CompletedProcess[str]:
    """What .ci/run does where `make` is this script."""
    (folder / "make").write_text(make)
    (folder / "make").chmod(0o755)
    environ = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [repository / ".ci" / "run"],
        cwd=folder,
        env=environ | {"PATH": f"{folder}:{environ['PATH']}"},
        input="anybody there?",
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_build_server_runs_make_test_and_other_engines_with_ci_set_and_no_input(
    repository: Path, tmp_path: Path
) -> None:
    ran = build_server(repository, tmp_path, '#!/bin/sh\necho "$PWD|$CI|$*|$(cat)"\n')

    assert ran.returncode == 0
    assert ran.stdout.splitlines() == [
        f"{repository}|true|test|",
        f"{repository}|true|portable PORTABLE=--install|",
        f"{repository}|true|portable PORTABLE=--generated 100 --rows 1|",
    ]


@pytest.mark.parametrize(
    ("failing", "ends_with", "says"),
    [
        ("test", 1, ""),
        ("portable PORTABLE=--install", 0, "The engines of CQL cannot be installed here"),
        ("portable PORTABLE=--generated 100 --rows 1", 1, ""),
    ],
)
def test_the_build_server_fails_where_a_test_or_an_engine_does_but_not_for_want_of_an_engine(
    repository: Path, tmp_path: Path, failing: str, ends_with: int, says: str
) -> None:
    ran = build_server(repository, tmp_path, f'#!/bin/sh\n[ "$*" != "{failing}" ]\n')

    assert ran.returncode == ends_with
    assert says in ran.stderr


@pytest.mark.parametrize("file", [".ci/run"])
def test_a_command_of_the_repository_may_be_run(repository: Path, file: str) -> None:
    assert (repository / file).stat().st_mode & stat.S_IXUSR


def test_no_test_holds_how_long_something_took_to_a_limit(repository: Path) -> None:
    """It would fail on a machine that has other work: times belong to `make bench`."""
    files = list((repository / "tests").rglob("*.py"))
    timed = re.compile(
        r"assert .*(monotonic|perf_counter|process_time|time\.time)\(\) [-] |(seconds|took|elapsed) [<] "
    )
    assert {file.name for file in files if timed.search(file.read_text("utf-8"))} == set()


def test_each_file_whose_tests_run_one_after_the_other_is_there(repository: Path) -> None:
    files = list((repository / "tests").rglob("test_*.py"))
    assert sum(file.name in ONE_AFTER_THE_OTHER for file in files) == len(ONE_AFTER_THE_OTHER)


POLICY = """
import pytest

@pytest.mark.needs_system("sh", "to try the policy")
def test_something() -> None:
    pass

@pytest.mark.needs_system("no-such-command", "to try the policy")
def test_something_else() -> None:
    pass
"""


@pytest.mark.parametrize(("ci", "outcome"), [("", "1 passed, 1 skipped"), ("true", "1 passed, 1 error")])
def test_a_missing_system_package_skips_a_test_on_a_desk_and_fails_it_on_the_build_server(
    repository: Path, tmp_path: Path, ci: str, outcome: str
) -> None:
    (tmp_path / "conftest.py").write_text((repository / "tests" / "conftest.py").read_text())
    (tmp_path / "test_policy.py").write_text(POLICY)

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", tmp_path],
        env=os.environ | {"CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )

    assert outcome in ran.stdout
    assert "no-such-command is not installed: to try the policy" in ran.stdout
