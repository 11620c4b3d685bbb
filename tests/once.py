"""What the tests make once in a process, instead of once for each test that needs it. What only applications
need is imported where it is needed."""

from __future__ import annotations

import functools
import importlib
import pickle
import tomllib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from jinja2 import Environment
from marshmallow import Schema

from service.knowledge_model import condition_text, loader, properties
from service.knowledge_model.model import PACKAGED
from service.reasoning import kernel
from service.release import diff, digests
from tests.charts import packaged

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from cds_hooks import HookRequest
    from service.answers.answered import Answered
    from service.chart.case import Case
    from service.chart.orders import OnChart
    from service.reasoning.assessment import Assessment

# What is made of a body of knowledge and never changes, with the module that makes it for an application.
_OF_KNOWLEDGE = (
    ("service.app", "check_templates"),
    ("service.app", "read_properties"),
    ("service.answers.cards", "Indications"),
    ("service.answers.cards", "reads_of"),
    ("service.services.evaluation", "Assessor"),
    ("service.services.evaluation", "CaseReader"),
    ("service.services.registry", "prefetch_templates"),
)

# Of how many folders what was made of them is remembered.
_LAST = 5


def _once_for(key_of: Callable[..., Any], make: Callable[..., Any]) -> Callable[..., Any]:
    """A method that makes something once for what of its arguments it reads."""
    made: dict[Any, Any] = {}

    def of(owner: Any, *given: Any) -> Any:
        key = key_of(owner, *given)
        if key not in made:
            made[key] = make(owner, *given)
        return made[key]

    return of


def _read_of_route(rule: Any, *given: Any) -> Any:
    """What the function is compiled from that writes the address of a route."""
    return rule.rule, repr(rule._trace), repr(rule.defaults), *given


def _settled_once(database: Any) -> Callable[..., None]:
    """What brings an audit trail into its form, for which alembic takes longer than most tests: on an empty database it
    writes the same each time, and so what it wrote on the first is written on the next ones."""
    from sqlalchemy import event, inspect  # noqa: PLC0415

    settle = database._settle_form
    written: dict[str, list[tuple[str, Any]]] = {}

    def settled(engine: Engine, variable: str, *, upgrading: bool) -> None:
        known, name = written.get(engine.dialect.name), engine.dialect.name
        with database.reading(engine) as connection:
            is_new = not inspect(connection).get_table_names() and (upgrading or name == "sqlite")
        if is_new and known:
            with engine.begin() as connection:
                for statement, given in known:
                    connection.exec_driver_sql(statement, given)
            return

        noted: list[tuple[str, Any]] = []

        def note(_connection: object, _cursor: object, statement: str, given: Any, *_more: object) -> None:
            if not statement.startswith(("BEGIN", "PRAGMA", "SELECT")):
                noted.append((statement, given))

        event.listen(engine, "before_cursor_execute", note)
        settle(engine, variable, upgrading=upgrading)
        event.remove(engine, "before_cursor_execute", note)
        if is_new:
            written[name] = noted

    return settled


def _loaded_once() -> Callable[..., Any]:
    """What loads knowledge: a folder that is unpacked or copied often holds what another one held, byte for byte."""
    loaded = deque([((True, *_files_of(PACKAGED)), packaged())], maxlen=_LAST)
    read = loader.load
    without_affiliate = functools.cache(functools.partial(read, affiliate_snomed=False))

    def load(folder: Path | None = None, *, affiliate_snomed: bool = True) -> Any:
        if folder is None:
            return packaged() if affiliate_snomed else without_affiliate()
        content = affiliate_snomed, *_files_of(folder)
        for known, knowledge in loaded:
            if known == content:
                return knowledge
        loaded.append((content, read(folder, affiliate_snomed=affiliate_snomed)))
        return loaded[-1][1]

    return load


def _digested_once(digest: Callable[..., Any]) -> Callable[..., Any]:
    """The digests of the recommendations of knowledge that was loaded once."""
    digested = deque[tuple[Any, Any]](maxlen=_LAST)

    def recommendations(self: Any) -> Any:
        for knowledge, found in digested:
            if knowledge is self.knowledge:
                return found
        digested.append((self.knowledge, digest(self)))
        return digested[-1][1]

    return recommendations


def _files_of(folder: Path) -> list[tuple[str, bytes]]:
    return sorted((str(file.relative_to(folder)), file.read_bytes()) for file in folder.rglob("*.*") if file.is_file())


@contextmanager
def made_once() -> Iterator[None]:
    """What every application makes of the packaged knowledge, of a template and of a route: it takes longer than most
    tests. The tests of the loader, and every service that is started by its command, make it themselves."""
    names = "service.release.states", "service.audit.releases", "service.audit.database", "werkzeug.routing"
    states, releases, database, routing = map(importlib.import_module, names)
    author_report = importlib.import_module("service.audit.author_report")
    load = _loaded_once()

    def once(make: Callable[..., Any]) -> Callable[..., Any]:
        made: list[Any] = []

        def of(knowledge: Any, *more: Any) -> Any:
            if knowledge is not packaged():
                return make(knowledge, *more)
            if not made:
                made.append(make(knowledge, *more))
            return made[0]

        return of

    make_digests = states.Digests
    of_packaged = functools.cache(functools.partial(make_digests, packaged(), None))

    def digests_of(knowledge: Any, folder: Path | None, product: str) -> Any:
        if knowledge is packaged() and folder is None:
            return of_packaged(product)
        return make_digests(knowledge, folder, product)

    pack, pack_packaged = releases.pack, functools.cache(functools.partial(releases.pack, PACKAGED))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(releases, "pack", lambda folder: pack_packaged() if folder == PACKAGED else pack(folder))
        patch.setattr(states, "Digests", digests_of)
        patch.setattr(make_digests, "recommendations", property(_digested_once(make_digests.recommendations.func)))
        for module in (author_report, states):
            patch.setattr(module, "load", load)
        patch.setattr(database, "_settle_form", _settled_once(database))
        patch.setattr(Environment, "compile", _once_for(lambda _environment, *source: source, Environment.compile))
        patch.setattr(routing.Rule, "_compile_builder", _once_for(_read_of_route, routing.Rule._compile_builder))
        for where, name in _OF_KNOWLEDGE:
            maker = importlib.import_module(where)
            patch.setattr(maker, name, once(getattr(maker, name)))
        yield


@contextmanager
def read_once() -> Iterator[None]:
    """What the loader makes of one text or one table, and the compiler of one stage: most tests that load knowledge
    have changed one file of hundreds. Everybody gets a copy of what can be changed, and what is wrong is looked at each
    time."""

    def remembered(make: Callable[..., Any]) -> Callable[..., Any]:
        made: dict[tuple[Any, bytes], bytes] = {}

        def of(known: tuple[Any, bytes], *given: Any) -> Any:
            if known not in made:
                made[known] = pickle.dumps(make(*given))
            return pickle.loads(made[known])  # noqa: S301 - it is of this process

        return of

    loads, check = remembered(tomllib.loads), remembered(loader._check)
    parsed = functools.cache(
        lambda text, numbers: condition_text.parse(text, None if numbers is None else dict(numbers))
    )
    toml = SimpleNamespace(
        loads=lambda text: loads((None, text.encode()), text), TOMLDecodeError=tomllib.TOMLDecodeError
    )

    def parse(text: str, thresholds: Mapping[str, float] | None) -> Any:
        return parsed(text, None if thresholds is None else tuple(thresholds.items()))

    def checked(schema: type[Schema], data: Any, file: str, key: str = "") -> Any:
        return check((schema, pickle.dumps(data)), schema, data, file, key)

    with pytest.MonkeyPatch.context() as patch:
        for module in (diff, digests, loader, properties):
            patch.setattr(module, "tomllib", toml)
        patch.setattr(loader, "_check", checked)
        for module in (diff, loader):
            patch.setattr(module, "parse", parse)
        patch.setattr(kernel, "_function", functools.cache(kernel._function))
        yield


@contextmanager
def decided_once() -> Iterator[None]:
    """What the services make of a case once, for tests that spell a chart in thousands of ways, most of which are read
    as the same. Both steps are pure, and take nothing of the chart but the case, without the resources that it was read
    from, and what is ordered.
    """
    from service.answers.cards import Responder  # noqa: PLC0415
    from service.reasoning.assessment import Assessor  # noqa: PLC0415

    assess, respond = Assessor.assess, Responder.respond
    assessed: dict[Any, Assessment] = {}
    responded: dict[Any, Answered] = {}

    def assess_once(self: Assessor, case: Case, **how: Any) -> Assessment:
        read = *case.assertions.items(), *case.data.items(), case.lacking, case.kinds, case.left_out
        key = self, *how.items(), case.now, case.patient, *read, case.unrecognised, case.fixed_sides
        if key not in assessed:
            assessed[key] = assess(self, case, **how)
        return assessed[key]

    def respond_once(
        self: Responder, assessment: Assessment, request: HookRequest, now: datetime, on_chart: OnChart, **more: Any
    ) -> Answered:
        # The time and what is muted tell what of the knowledge is in force.
        asked = request.hook, request.hook_instance, request.client, repr(request.context), now, repr(more["muted"])
        key = self, id(assessment), on_chart, *asked
        if key not in responded:
            responded[key] = respond(self, assessment, request, now, on_chart, **more)
        return responded[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Assessor, "assess", assess_once)
        patch.setattr(Responder, "respond", respond_once)
        yield
