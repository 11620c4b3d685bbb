"""The CDS services of a server, found by id and hook, and what discovery says about them.

Specification: Discovery.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from cds_hooks.body import Reads, Walks
from cds_hooks.errors import UnknownService
from cds_hooks.hooks import is_hook_name
from cds_hooks.prefetch import lint_template
from cds_hooks.request import HookRequest, mismatch
from cds_hooks.response import HasResponse

# What the services of a server return.
Answered = TypeVar("Answered", bound=HasResponse)
_ID = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")


@dataclass(frozen=True, slots=True)
class CdsService(Generic[Answered]):
    """One entry of discovery; `answer` is called with each checked request and returns its response.

    `prefetch` maps each key to its template. The same id may be published once for each of several hooks, but a client
    that keeps services by their id keeps one of them: give each entry an id of its own. `former_ids` are those under
    which it was published before; a call of one is answered, and discovery no longer has it. `needs_chart` says of a
    request whether its answer needs the data that `prefetch` asks for: without that, nothing is fetched. `version` is
    that of the CDS Hooks specification, as a semantic version. `reads` are the members of a resource by which the
    service knows what matters to it: they are decoded while the body is gone through. `extension` is asked for each
    time, as what it says may change with the day.
    """

    id: str
    hook: str
    title: str
    description: str
    prefetch: Mapping[str, str]
    answer: Callable[[HookRequest], Answered]
    usage_requirements: str | None = None
    version: str | None = "3.0.0"
    extension: Callable[[], Mapping[str, Any]] | None = None
    needs_chart: Callable[[HookRequest], bool] = lambda _request: True
    former_ids: tuple[str, ...] = ()
    reads: Reads | None = None
    walks: Walks | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        name = f"CDS service {self.id!r} for {self.hook!r}"
        if not all(map(_ID.fullmatch, (self.id, *self.former_ids))):
            raise ValueError(f"{name}: the id is part of a URL and may hold letters, digits and . _ ~ - only")
        if not is_hook_name(self.hook):
            raise ValueError(f"{name}: the hook is neither in the CDS Hooks Library nor a reverse domain name")
        if not self.title or not self.description:
            raise ValueError(f"{name}: title and description are needed")
        problems = [f"{key}: {problem}" for key, text in self.prefetch.items() for problem in lint_template(text)]
        if problems:
            raise ValueError(f"{name}: prefetch template {'; '.join(problems)}")
        object.__setattr__(self, "walks", Walks(self.reads, self.prefetch) if self.reads else None)

    def entry(self) -> dict[str, Any]:
        """This service as discovery describes it; members without a value are left out."""
        members = {
            "hook": self.hook,
            "title": self.title,
            "description": self.description,
            "id": self.id,
            "prefetch": dict(self.prefetch),
            "usageRequirements": self.usage_requirements,
            "version": self.version,
            "extension": self.extension() if self.extension else None,
        }
        return {name: value for name, value in members.items() if value}


class ServiceRegistry(Generic[Answered]):
    """All CDS services of a server. Raises ValueError when two share id and hook."""

    def __init__(self, services: Iterable[CdsService[Answered]]) -> None:
        self._by_id: dict[str, dict[str, CdsService[Answered]]] = {}
        published = tuple(services)
        for service in published:
            for id_ in (service.id, *service.former_ids):
                hooks = self._by_id.setdefault(id_, {})
                if service.hook in hooks:
                    raise ValueError(f"CDS service {id_!r} is published twice for {service.hook!r}")
                hooks[service.hook] = service
        self._published = published
        # Asked for at every call.
        self._current = {id_: _current(id_, hooks.values()) for id_, hooks in self._by_id.items()}
        self._walks = {id_: _walks(*hooks.values()) for id_, hooks in self._by_id.items()}

    def current_id(self, service_id: str) -> str:
        """The id under which a service is published now; that of the call where it may mean several services.

        Raises UnknownService.
        """
        self.hooks_of(service_id)
        return self._current[service_id]

    def hooks_of(self, service_id: str) -> tuple[str, ...]:
        """The hooks for which this id is, or was, published. Raises UnknownService."""
        hooks = self._by_id.get(service_id)
        if hooks is None:
            raise UnknownService("expected the id of a CDS service, received another. Discovery lists the ids.")
        return tuple(hooks)

    def find(self, service_id: str, hook: str) -> CdsService[Answered]:
        """The service that is, or was, published under this id for this hook. Raises UnknownService, HookMismatch."""
        hooks = self.hooks_of(service_id)
        if hook not in hooks:
            raise mismatch(hook, service_id, hooks)
        return self._by_id[service_id][hook]

    def walks(self, service_id: str) -> Walks | None:
        """How the body of a call of this id is gone through, where that is the same whatever its hook. Raises
        UnknownService.
        """
        self.hooks_of(service_id)
        return self._walks[service_id]

    def first_of_hooks(self) -> dict[str, str]:
        """Hook -> the id of the first service that discovery has for it."""
        found: dict[str, str] = {}
        for service in self._published:
            found.setdefault(service.hook, service.id)
        return found

    def discovery(
        self, ids: Collection[str] | None = None, extension: Mapping[str, Any] = MappingProxyType({})
    ) -> dict[str, Any]:
        """The body of the discovery response; with `ids`, of these services alone; `extension` joins that of each."""
        entries = [each.entry() for each in self._published if ids is None or each.id in ids]
        if extension:
            entries = [{**entry, "extension": {**entry.get("extension", {}), **extension}} for entry in entries]
        return {"services": entries}


def _current(id_: str, services: Iterable[CdsService[Any]]) -> str:
    current = {service.id for service in services}
    return current.pop() if len(current) == 1 else id_


def _walks(first: CdsService[Any], *others: CdsService[Any]) -> Walks | None:
    alike = all(each.reads == first.reads and each.prefetch == first.prefetch for each in others)
    return first.walks if alike else None
