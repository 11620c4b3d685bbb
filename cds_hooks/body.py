"""The body of a call, gone through twice at most.

On the first walk, what a service reads of each resource before it knows which of them matter is decoded. Most calls
need no more. The second finds the resources as they came, all at once, where somebody asks for one of them.
Specification: Calling a CDS Service; FHIR R4, Bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from types import NoneType
from typing import Any, NamedTuple

import msgspec

from cds_hooks.errors import BadRequest
from cds_hooks.json_text import LONGEST_MEMBER, read_typed, typed_decoder

ABSENT = msgspec.Raw()


class Head(msgspec.Struct, gc=False):
    """What a service reads of each resource before it knows which of them matter to it; to be extended by its members.

    A member that is missing has its default; one of another type than it says sends the body to a slower reading.
    """

    kind: str = msgspec.field(default="", name="resourceType")


class Reads(NamedTuple):
    """What a service reads of a resource that lies in a Bundle, and of one that is all that a prefetch key has."""

    in_bundle: type[Head]
    alone: type[Head]


class Link(msgspec.Struct, gc=False):
    """A link of a Bundle."""

    relation: str | None = None
    url: str | None = None


class Entry(msgspec.Struct, gc=False, rename="camel", omit_defaults=True):
    """An entry of a Bundle as it came; in the answer to a batch, `response` tells what became of its request."""

    resource: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT
    full_url: msgspec.Raw = ABSENT


class Entries(msgspec.Struct, gc=False, frozen=True):
    """A Bundle, as far as its entries."""

    entry: list[Entry] | None = None


class Body:
    """A body of which the first walk is done; the second is made where it is asked for something."""

    def __init__(self, body: bytes, walks: Walks) -> None:
        self._body, self._walks = body, walks

    def members(self, name: str) -> dict[str, msgspec.Raw]:
        """Those of a member of the call that is an object, as they came."""
        members: dict[str, msgspec.Raw] = getattr(self._apart, name)
        return members

    def entries(self, key: str) -> Sequence[Entry]:
        """Those of the Bundle of a prefetch key."""
        entries: list[Entry] | None = getattr(self._apart.prefetch, self._walks.names[key]).entry
        return entries or ()

    def resource(self, key: str) -> msgspec.Raw:
        """The resource of a prefetch key that has no Bundle, as it came."""
        resource: msgspec.Raw = getattr(self._apart.prefetch, self._walks.names[key])
        return resource

    @cached_property
    def _apart(self) -> Any:
        try:
            return self._walks.second.decode(self._body)
        except RecursionError:
            # The first walk was made by who had called fewer functions.
            raise BadRequest("body: expected JSON of an ordinary depth, received one nested too deeply.") from None


class Heads(dict[str, Any]):
    """What the first walk has read of the value of each prefetch key.

    Of a resource the members that the service reads, with `type`, `total`, `link` and `entry` of a Bundle, in which the
    entries have the members of their resources; or None. `body` does not keep them.
    """

    body: Body


# The members of a call that are objects, beside the prefetch.
_OBJECTS = ("context", "fhirAuthorization", "extension")
_OBJECT = (dict, NoneType)
NO_RESOURCE = frozenset({"", "OperationOutcome"})


class Walks:
    """How the bodies of calls of a service are gone through that `reads` so much of what these prefetch templates ask
    for. To be made before there are threads, as msgspec prepares a form once.
    """

    def __init__(self, reads: Reads, templates: Mapping[str, str]) -> None:
        self._searches = {key: "?" in template for key, template in templates.items()}
        # The keys may be any text.
        self.names = {key: f"key_{place}" for place, key in enumerate(templates)}
        self._first = _first_decoder(reads)
        prefetch = msgspec.defstruct(
            "_Prefetch",
            [
                (name, Entries | None, None) if self._searches[key] else (name, msgspec.Raw, ABSENT)
                for key, name in self.names.items()
            ],
            rename={name: key for key, name in self.names.items()},
            gc=False,
        )
        members: list[tuple[str, Any, Any]] = [(name, dict[str, msgspec.Raw] | None, None) for name in _OBJECTS]
        apart = msgspec.defstruct("_Apart", [*members, ("prefetch", prefetch | None, None)], gc=False)
        self.second = msgspec.json.Decoder(apart)

    def read_ahead(self, body: bytes) -> dict[str, Any] | None:
        """The members of a call as read_members gives them, but the prefetch as `Heads`, and what is plain and short in
        the others decoded.

        None where anything is not as it should be, such as a key without a template: read_members tells then what.
        """
        members = read_typed(body, self._first)
        if members is None or not all(isinstance(members.get(name), _OBJECT) for name in (*_OBJECTS, "prefetch")):
            return None
        heads = Heads(members.get("prefetch") or {})
        if not self._are_asked_for(heads):
            return None
        known = heads.body = Body(body, self)
        for name, given in members.items():
            if name != "prefetch" and isinstance(given, dict) and not all(map(_is_short, given.values())):
                # Of an object that no specification names it is enough that it is one.
                members[name] = known.members(name) if name in _OBJECTS else {}
        if heads:
            members["prefetch"] = heads
        return members

    def _are_asked_for(self, heads: Heads) -> bool:
        """Whether each is what answers the template of its key, for a search a Bundle and else not, or null."""
        for key, head in heads.items():
            is_search = self._searches.get(key)
            if is_search is None or not (head is None or isinstance(head, Head)):
                return False
            if head and (head.kind in NO_RESOURCE or (head.kind == "Bundle") is not is_search):
                return False
        return True


def _is_short(value: object) -> bool:
    """Whether it is a plain value that is no longer than what may be decoded."""
    # A character takes twelve bytes at most.
    return len(value) * 12 < LONGEST_MEMBER if isinstance(value, str) else isinstance(value, int | float | None)


@cache
def _first_decoder(reads: Reads) -> msgspec.json.Decoder[Any]:
    """Services of one product read the same of a resource, and share what reads it."""
    return typed_decoder(_of_first_walk(reads))


def _of_first_walk(reads: Reads) -> type[msgspec.Struct]:
    """The form of an object on the second level of a body."""
    # One without a resource is read slowly: of millions of empty ones both walks would keep a list.
    entry = msgspec.defstruct("_Entry", [("resource", reads.in_bundle), ("response", msgspec.Raw, ABSENT)], gc=False)
    members = [
        # That of some resource is no text.
        ("type", msgspec.Raw, ABSENT),
        ("total", int | None, None),
        ("entry", list[entry] | None, None),  # type: ignore[valid-type]
        ("link", list[Link] | None, None),
    ]
    return msgspec.defstruct("_Object", members, bases=(reads.alone,), gc=False)
