"""Takes the picture of the page for the README.

python -m tests.browser.picture
"""

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.conftest import DemoEhr, sandbox
from tests.serving import running

REPOSITORY = Path(__file__).parents[2]


def main() -> None:
    """Write docs/images/page.png."""
    with running(REPOSITORY, SITBONE_WORKERS="1") as (base, _stop), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=sandbox())
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        DemoEhr(page, base).open("sudden-pop-with-bruising")
        page.screenshot(path=REPOSITORY / "docs" / "images" / "page.png", animations="disabled")
        browser.close()


if __name__ == "__main__":
    main()
