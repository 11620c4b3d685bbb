"""Is a resource valid FHIR? Asked of the models of the package fhir.resources; where it is not installed, nobody knows.

Specification: Use of JSON; Action. The models are those of R4B, which differs from R4 in a few resource types that no
card suggests, of R5 and of STU3.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

R4 = "R4"
_PACKAGE = "fhir"
_MODELS = {R4: "fhir.resources.R4B", "R5": "fhir.resources", "STU3": "fhir.resources.STU3"}
_WORDS = {"missing": "is missing", "model_field_validation.missing": "is missing", "extra_forbidden": "is no member"}


def can_tell() -> bool:
    """Whether the models are installed."""
    return importlib.util.find_spec(_PACKAGE) is not None and importlib.util.find_spec("fhir.resources") is not None


def releases_of(resource: Mapping[str, Any]) -> tuple[str, ...]:
    """The releases of FHIR in which the resource is valid, R4 first; the others are only tried where R4 is not it."""
    if not violations(resource):
        return (R4,)
    return tuple(release for release in _MODELS if release != R4 and not violations(resource, release))


def violations(resource: Mapping[str, Any], release: str = R4) -> tuple[str, ...]:
    """What keeps the resource from being valid in a release: where, and what is wrong there, without any value."""
    # Loaded when there is something to ask: they take their time, and may not be there.
    from pydantic import ValidationError  # noqa: PLC0415

    models = importlib.import_module(_MODELS[release])
    try:
        model = models.get_fhir_model_class(resource.get("resourceType"))
    except (LookupError, TypeError, ValueError):
        return (f"resourceType: there is no such resource in {release}",)
    try:
        model.model_validate(dict(resource))
    except ValidationError as problem:
        listed = problem.errors(include_url=False, include_context=False, include_input=False)
        found = ((".".join(map(str, each["loc"])), _WORDS.get(each["type"], "is not of its form")) for each in listed)
        return tuple(dict.fromkeys(f"{at or 'the resource'} {words}" for at, words in found))
    return ()
