"""The measure: the least that could answer. It reads the body and answers a constant card, served as the service is."""

import os

import orjson
from flask import Flask, Response, request

from bench.charts import PATH
from service.server.serve import serve
from service.settings import Settings

_CARD = {"summary": "Always the same", "indicator": "info", "source": {"label": "The bench"}}
_ANSWER = orjson.dumps({"cards": [_CARD]})

app = Flask("bare")


@app.post(PATH)
def answer() -> Response:
    """The card, once the body has been read into Python's dicts and lists."""
    orjson.loads(request.get_data())
    return Response(_ANSWER, content_type="application/json")


@app.get("/healthz")
def healthy() -> str:
    """Something to wait for."""
    return ""


if __name__ == "__main__":
    serve(Settings.from_environment(os.environ), app)
