"""A request of a CDS service -> the features of its chart."""

from __future__ import annotations

from typing import Any

from cds_hooks import ServiceRegistry
from cds_hooks.request import read_envelope, request_for
from service.answers.answered import Answered
from service.features.resources import bundle, reader_of
from service.service_ids import DIAGNOSIS
from service.services.evaluation import Evaluator


class FeatureReader:
    """Reads charts by one body of knowledge; made once. `published`: the CDS services whose requests it takes."""

    def __init__(self, evaluator: Evaluator, published: ServiceRegistry[Answered]) -> None:
        self._evaluator, self._published = evaluator, published
        self._by_hook = published.first_of_hooks()
        self._reader = reader_of(evaluator.knowledge)

    def read(self, body: bytes) -> dict[str, Any]:
        """The Bundle of features of the chart in this request. What the prefetch lacks is not fetched.

        Raises what the CDS service of its hook raises about a request that it cannot read.
        """
        envelope = read_envelope(body)
        hook = str(envelope["hook"])
        service = self._published.find(self._by_hook.get(hook, DIAGNOSIS), hook)
        request = request_for(envelope, service, correlation_id="features")
        case = self._evaluator.read(request)
        return bundle(case, request.patient_id, self._reader)
