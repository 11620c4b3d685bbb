"""What the scopes of an access token allow to be read, in the two notations of SMART App Launch.

Version 1: `patient/Observation.read`, `user/*.*`. Version 2: `patient/Observation.rs`, also narrowed to part of a type
by a query, as in `patient/Observation.rs?category=laboratory`.
Specification: FHIR Resource Access, Passing the Access Token to the CDS Service.
"""

from __future__ import annotations

import re
from enum import StrEnum

_SCOPE = re.compile(
    r"(?:patient|user|system)/(?P<type>\*|[A-Z][A-Za-z]*)\.(?P<may>read|write|\*|[cruds]+)(?P<query>\?.*)?"
)
_VERSION_1 = {"read": "rs", "write": "cud", "*": "cruds"}


class Interaction(StrEnum):
    """The two ways in which a prefetch template asks, each by its letter in a scope of version 2."""

    READ = "r"
    SEARCH = "s"


class Grant(StrEnum):
    """How much of what a request asks for the token gives."""

    FULL = "full"
    PART = "part"
    NONE = "none"


def grants_creation(scope: str, resource_type: str) -> bool:
    """Whether `scope` says that resources of this type may be created, all of them; to read them does not imply it."""
    return any(
        match["type"] in ("*", resource_type)
        and "c" in _VERSION_1.get(match["may"], match["may"])
        and match["query"] is None
        for match in map(_SCOPE.fullmatch, scope.split())
        if match
    )


def granted(scope: str, resource_type: str, interaction: Interaction) -> Grant:
    """What `scope`, a list with spaces between, grants of this interaction with this type of resource.

    A scope that says nothing of any resource, as the empty one of some CDS clients, is unknown and counts as FULL: the
    FHIR server decides.
    """
    scopes = [match for match in map(_SCOPE.fullmatch, scope.split()) if match]
    if not scopes:
        return Grant.FULL
    queries = {
        match["query"]
        for match in scopes
        if match["type"] in ("*", resource_type) and interaction in _VERSION_1.get(match["may"], match["may"])
    }
    if not queries:
        return Grant.NONE
    return Grant.FULL if None in queries else Grant.PART
