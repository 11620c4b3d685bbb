"""What the tests make once in a process, instead of once for each test that needs it."""

import functools
import importlib
import pickle
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from marshmallow import Schema

from service.knowledge_model import condition_text, loader
from service.knowledge_model.model import PACKAGED
from service.reasoning import kernel
from tests.charts import packaged


@contextmanager
def made_once() -> Iterator[None]:
    """What every application makes of the packaged knowledge, and never changes: it takes longer than most tests. The
    tests of the loader, and every service that is started by its command, make it themselves."""
    app, releases = (importlib.import_module(name) for name in ("service.app", "service.audit.releases"))
    evaluation, states = (
        importlib.import_module(name) for name in ("service.services.evaluation", "service.release.states")
    )
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

    pack, pack_packaged = releases.pack, functools.cache(functools.partial(releases.pack, PACKAGED))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(releases, "pack", lambda folder: pack_packaged() if folder == PACKAGED else pack(folder))
        patch.setattr(states, "Digests", digests)
        patch.setattr(states, "load", load)
        patch.setattr(app, "check_templates", once(app.check_templates))
        patch.setattr(app, "read_properties", once(app.read_properties))
        patch.setattr(evaluation, "Assessor", once(evaluation.Assessor))
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
