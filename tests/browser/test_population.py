"""The report of a population, in a real browser."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser

from bench.population import charts_of_requests, population, write
from service.cli import main
from tests.browser.conftest import CHROMIUM, DemoEhr, keep_picture

pytestmark = pytest.mark.needs_system(CHROMIUM, "the page is tried in a real browser")


@pytest.fixture(scope="module")
def report(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a small population of which many have this pain, beside knowledge that is the same."""
    folder = tmp_path_factory.mktemp("population")
    export = write(folder / "export", population(60, 3, charts_of_requests()))
    words = (export, "--out", folder / "out", "--processes", "1", "--small-cells", "3")
    compare = ("--compare", repository / "service" / "knowledge")
    done = CliRunner().invoke(main, ["population", *map(str, (*words, *compare))], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return (folder / "out" / "report.html").as_uri()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("population", {}),
        ("population-dark", {"color_scheme": "dark"}),
        ("population-phone", {"viewport": {"width": 360, "height": 740}}),
    ],
)
def test_everybody_can_read_it(browser: Browser, report: str, name: str, options: dict[str, Any]) -> None:
    context = browser.new_context(**{"viewport": {"width": 1100, "height": 900}, **options})
    try:
        page = DemoEhr(context.new_page(), "file://")
        page.page.goto(report)
        assert page.page.locator("script").count() == 0
        assert page.page.get_by_role("heading", name="How often each would be said").is_visible()
        page.look(name)
        keep_picture(page.page, f"{name}-whole", full_page=True)
        assert page.wrong == []
    finally:
        context.close()
