"""Takes the pictures of the report that the documents show, with a headless browser.

python docs/images/screenshots.py build/report.html
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SHOTS = (  # name, width, height, theme, what is at the top
    ("report-summary", 1440, 900, "light", "#main"),
    ("report-choice", 1440, 1250, "light", "#choice"),
    ("report-browse-dark", 1440, 1000, "dark", "#browse"),
    ("report-evidence-dark", 1440, 1000, "dark", "#evidence"),
    ("report-phone", 390, 844, "light", "#main"),
    ("report-phone-dark", 390, 844, "dark", "#cards"),
)


def main() -> None:
    """Write one PNG per shot beside this file."""
    page = Path(sys.argv[1]).resolve().as_uri()
    place = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=place, args=["--no-sandbox"])
        for name, width, height, theme, top in SHOTS:
            tab = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme=theme,
                reduced_motion="reduce",
            )  # fmt: skip
            tab.goto(page)
            tab.locator(top).scroll_into_view_if_needed()
            tab.evaluate("top => document.querySelector(top).scrollIntoView()", top)
            tab.wait_for_timeout(800)  # charts are drawn as they come near
            tab.evaluate("top => document.querySelector(top).scrollIntoView()", top)
            tab.wait_for_timeout(400)
            tab.screenshot(path=Path(__file__).parent / f"{name}.png")
            tab.close()
        browser.close()


if __name__ == "__main__":
    main()
