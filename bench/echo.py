"""The measure: Flask + orjson that loads the body and dumps it back, served like the service itself."""

import os

import orjson
from flask import Flask, Response, request

from bench.charts import PATH
from service.server.serve import serve
from service.settings import Settings

app = Flask("echo")


@app.post(PATH)
def answer() -> Response:
    """The body, once through Python's dicts and lists."""
    return Response(orjson.dumps(orjson.loads(request.get_data())), content_type="application/json")


@app.get("/healthz")
def healthy() -> str:
    """Something to wait for."""
    return ""


if __name__ == "__main__":
    serve(Settings.from_environment(os.environ), app)
