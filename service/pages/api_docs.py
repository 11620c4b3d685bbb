"""The page at `/docs`: openapi.yaml drawn by Swagger UI, from which every call can be tried.

The files of Swagger UI are those of the package flask-swagger-ui, which has nothing but them and a page of its own that
a strict policy would not run.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from flask import Blueprint, Response, render_template

from cds_hooks.errors import UnknownService
from service.pages.demo_ehr import HEADERS

# Its style sheet holds its pictures.
_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": HEADERS["Content-Security-Policy"].replace("img-src 'self'", "img-src 'self' data:"),
}
_OPENAPI = Path(__file__).parents[1] / "openapi.yaml"
_OURS = Path(__file__).parent / "api_docs.js"
_TYPES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "api_docs.js": "text/javascript",
}


def create_blueprint() -> Blueprint:
    """`/docs`, its files under `/docs/files/`, and `/openapi.yaml`."""
    blueprint = Blueprint("api_docs", __name__, template_folder=".")

    @cache
    def content(name: str) -> bytes:
        return _OURS.read_bytes() if name == _OURS.name else (files("flask_swagger_ui") / "dist" / name).read_bytes()

    @blueprint.get("/docs")
    def page() -> str:
        return render_template("api_docs.html")

    @blueprint.get("/docs/files/<name>")
    def file(name: str) -> Response:
        if name not in _TYPES:
            raise UnknownService("There is no such file of the page.")
        return Response(content(name), mimetype=_TYPES[name])

    @blueprint.get("/openapi.yaml")
    def described() -> Response:
        return Response(_OPENAPI.read_bytes(), content_type="application/yaml")

    @blueprint.after_request
    def guard(response: Response) -> Response:
        response.headers.update(_HEADERS)
        return response

    return blueprint
