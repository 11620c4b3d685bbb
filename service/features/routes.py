"""`POST /features`: the features of a chart, for who may call the service at patient-view."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson
from flask import Blueprint, Response, request

from cds_hooks.blueprint import admitted, read_body
from service.features.reading import FeatureReader
from service.service_ids import DIAGNOSIS

if TYPE_CHECKING:
    from cds_hooks.trust import Gate

PATH = "/features"


def create_blueprint(
    reader: FeatureReader,
    *,
    gate: Gate | None,
    base_url: str | None,
    body_limit: int,
    pseudonym: Callable[[str], str],
) -> Blueprint:
    """The route. base_url: the address of the service; without it, the one that the request went to; body_limit: in
    bytes.
    """
    blueprint = Blueprint("features", __name__)

    @blueprint.post(PATH)
    def read() -> Response:
        admitted(gate, lambda: base_url or request.root_url.rstrip("/"), pseudonym, DIAGNOSIS, PATH)
        found = reader.read(read_body(body_limit))
        return Response(orjson.dumps(found), content_type="application/fhir+json")

    return blueprint
