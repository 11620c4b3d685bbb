"""Decides charts by the checkout that it is run in: requests on the standard input, decisions on the standard output.

Each is a line of JSON. A decision is the response of the service and its explanation, which names every recommendation
with its verdict, evidence and what is unknown, every point of the ranking, and what each question can change.
"""

from __future__ import annotations

import sys
from datetime import datetime

import orjson

from cds_hooks import CdsHooksError
from service.commands.replay import in_process
from service.knowledge_model import loader
from service.services.explanation import Explainer, as_dict
from service.settings import Settings


def main() -> None:
    """Takes the time of all calls as its argument."""
    now = datetime.fromisoformat(sys.argv[1])
    call, explainer = in_process(Settings(), now), Explainer(loader.load(), lambda: now)
    for line in sys.stdin.buffer:
        asked = orjson.loads(line)
        body = orjson.dumps(asked["request"])
        response = orjson.loads(call(f"/cds-services/{asked['service']}", "sameness", body))
        try:
            explanation = as_dict(explainer.explain(asked["service"], body))
        except CdsHooksError as refusal:
            explanation = {"refused": str(refusal)}
        decided = {"response": response, "explanation": explanation}
        sys.stdout.buffer.write(orjson.dumps(decided, option=orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
