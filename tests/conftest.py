"""When a test may be left out, and when not; which tests may run side by side, and what they share."""

import functools
import gc
import importlib
import os
import pickle
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings
from marshmallow import Schema
from xdist.scheduler import LoadFileScheduling

from service.knowledge_model import condition_text, loader
from service.knowledge_model.model import PACKAGED
from service.reasoning import kernel
from tests.charts import packaged

# How long an example takes is no property: the machine may have other work.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

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
# of a processor and more. A browser is started for test_demo_ehr.py, and what needs one follows it.
_LONGEST_FIRST = (
    "test_container.py",
    "test_demo_ehr.py",
    "test_guides.py",
    "test_proofs.py",
    "test_bad_input.py",
    "test_reload.py",
    "test_silence.py",
    "test_consistency.py",
    "test_shadow.py",
    "test_muting.py",
    "test_serve.py",
    "test_page.py",
    "test_audit.py",
    "test_knowledge_commands.py",
    "test_trust.py",
    "test_suspension.py",
    "test_imaging_referral.py",
    "test_metrics.py",
    "test_knowledge.py",
    "test_digests.py",
    "test_population.py",
    "test_store.py",
    "test_author_report.py",
    "test_schemathesis.py",
    "test_cli.py",
    "test_adaptive_form.py",
    "test_portable.py",
    "test_old_imaging.py",
    "test_next_question.py",
    "test_sensitivity.py",
    "test_missing_names.py",
    "test_cases.py",
    "test_would_change.py",
    "test_launch.py",
    "test_card_ids.py",
    "test_saving.py",
    "test_statements.py",
    "test_readers_agree.py",
    "test_sbom.py",
    "test_insights_page.py",
    "test_case_reading.py",
    "test_compose.py",
    "test_sameness.py",
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
def made_once() -> Iterator[None]:
    """What every application makes of the packaged knowledge, and never changes, is made once for all of a process: it
    takes longer than most tests. The tests of the loader, and every service that is a process, make it themselves."""
    app: Any = sys.modules.get("service.app")
    if app is None:
        yield
        return
    loader = app.loader
    evaluation, states = sys.modules["service.services.evaluation"], sys.modules["service.release.states"]
    without_affiliate = functools.cache(functools.partial(loader.load, affiliate_snomed=False))
    made: dict[tuple[Any, int], tuple[Any, Any]] = {}

    def load(folder: Path | None, *, affiliate_snomed: bool = True) -> Any:
        if folder:
            return loader.load(folder, affiliate_snomed=affiliate_snomed)
        return packaged() if affiliate_snomed else without_affiliate()

    def once(make: Callable[..., Any]) -> Callable[..., Any]:
        def of(knowledge: Any, *more: Any) -> Any:
            key = make, id(knowledge)
            if key not in made:
                # The knowledge is kept beside it, so that no other one gets its id.
                made[key] = make(knowledge, *more), knowledge
            return made[key][0]

        return of

    make_digests = states.Digests
    digests_of_packaged = functools.cache(functools.partial(make_digests, packaged(), None))

    def digests(knowledge: Any, folder: Path | None, product: str) -> Any:
        if knowledge is packaged() and folder is None:
            return digests_of_packaged(product)
        return make_digests(knowledge, folder, product)

    releases = importlib.import_module("service.audit.releases")
    pack, pack_packaged = releases.pack, functools.cache(functools.partial(releases.pack, PACKAGED))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(releases, "pack", lambda folder: pack_packaged() if folder == PACKAGED else pack(folder))
        patch.setattr(states, "Digests", digests)
        patch.setattr(states, "load", load)
        patch.setattr(app, "loader", SimpleNamespace(load=load))
        patch.setattr(app, "check_templates", once(app.check_templates))
        patch.setattr(app, "read_properties", once(app.read_properties))
        patch.setattr(evaluation, "Assessor", once(evaluation.Assessor))
        yield


@pytest.fixture(scope="session", autouse=True)
def read_once() -> Iterator[None]:
    """What the loader makes of one text or one table, and the compiler of one stage, is made once in a process: most
    tests that load knowledge have changed one file of hundreds. Everybody gets a copy of what can be changed, and what
    is wrong is looked at each time."""

    def remembered(make: Callable[..., Any]) -> Callable[..., Any]:
        made: dict[tuple[Any, bytes], bytes] = {}

        def of(known: tuple[Any, bytes], *given: Any) -> Any:
            if known not in made:
                made[known] = pickle.dumps(make(*given))
            return pickle.loads(made[known])  # noqa: S301 - it is of this process

        return of

    loads, check = remembered(tomllib.loads), remembered(loader._check)
    parse = functools.cache(lambda text, numbers: condition_text.parse(text, dict(numbers)))
    toml = SimpleNamespace(
        loads=lambda text: loads((None, text.encode()), text), TOMLDecodeError=tomllib.TOMLDecodeError
    )

    def checked(schema: type[Schema], data: Any, file: str, key: str = "") -> Any:
        return check((schema, pickle.dumps(data)), schema, data, file, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "tomllib", toml)
        patch.setattr(loader, "_check", checked)
        patch.setattr(loader, "parse", lambda text, numbers: parse(text, tuple(numbers.items())))
        patch.setattr(kernel, "_function", functools.cache(kernel._function))
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
