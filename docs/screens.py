"""Writes the pictures of docs/screens/ and docs/compare.png: the real page through all five steps.

    python docs/screens.py            with the real default model and the example prompts; 25 minutes without a GPU
    python docs/screens.py --quick    with stand-ins for the model, in a minute: for trying this script

Each screen is taken at three widths, light and dark. Needs Chromium, as the browser tests do. The export itself is
not run: its guard asks some hundred prompts.
"""

from __future__ import annotations

import argparse
import re
import sys
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser.served import ARGUMENTS, STAGED, START, Server, chromium_path, lend_models  # noqa: E402

HEIGHTS = {1440: 1800, 768: 2400, 390: 3200}  # by width: a list of answers goes on below
THEMES = ("light", "dark")
COLOURS = 128  # of a picture's palette
README_SIZE = (1100, 1300)
LONG = 1_800_000  # milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="stand-ins for the model; needs --out")
    parser.add_argument("--out", type=Path, help="the folder for the pictures (default: docs/screens)")
    options = parser.parse_args()
    if options.quick and options.out is None:
        parser.error("--quick shows made-up figures: give the pictures another folder with --out.")
    path = chromium_path()
    if path is None:
        parser.error("There is no Chromium on this machine: install it, or name it in the variable CHROMIUM.")
    from playwright.sync_api import sync_playwright

    out = options.out or ROOT / "docs" / "screens"
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        if not options.quick:
            lend_models(Path(folder))
        server = Server(Path(folder), STAGED if options.quick else START)
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
            page.set_default_timeout(30_000)
            page.goto(server.url)
            visit(page, Screens(page, out), out.parent if options.out is None else out)
        finally:
            browser.close()
            server.stop()
    total = sum(file.stat().st_size for file in out.glob("*.png"))
    sys.stdout.write(f"{len(list(out.glob('*.png')))} pictures, {total / 1e6:.1f} MB in {out}\n")


class Screens:
    """Takes pictures of ``page`` into ``out``."""

    def __init__(self, page: Any, out: Path) -> None:  # noqa: ANN401
        self.page, self.out = page, out
        # A picture of the whole page shows what is out of the window too, which the page itself does not lay out.
        page.add_style_tag(content=".st-pair, .st-row { content-visibility: visible !important; }")

    def take(self, name: str) -> None:
        """The screen as it is now, at every width, light and dark."""
        for width, most in HEIGHTS.items():
            for theme in THEMES:
                self._show(width, theme)
                save(self.page.screenshot(full_page=True), self.out / f"{name}-{width}-{theme}.png", most)
        self._show(1440, "light")

    def take_for_readme(self, file: Path) -> None:
        width, most = README_SIZE
        self._show(width, "light")
        save(self.page.screenshot(full_page=True), file, most)
        self._show(1440, "light")

    def _show(self, width: int, theme: str) -> None:
        """As `?__theme=` does, but without loading the page anew, so that what is open stays open."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.evaluate("dark => document.body.classList.toggle('dark', dark)", theme == "dark")
        self.page.wait_for_timeout(400)


def save(png: bytes, file: Path, most: int) -> None:
    """The upper ``most`` pixels, with a palette: a page has few colours."""
    picture = Image.open(BytesIO(png)).convert("RGB")
    picture = picture.crop((0, 0, picture.width, min(most, picture.height)))
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, optimize=True)


def visit(page: Any, screens: Screens, beside: Path) -> None:  # noqa: ANN401
    """Someone repairs the model with the example prompts, from the first screen to the export."""
    page.wait_for_selector("#model-go")
    screens.take("1-model")
    page.locator("#model-go").click()
    page.wait_for_selector("#model-state .st-success", timeout=LONG)
    page.locator("#model-job .st-job").wait_for(state="detached")
    screens.take("1-model-loaded")
    page.locator("#model-next").click()

    screens.take("2-prompts")
    page.locator("#examples").click()
    page.wait_for_function("document.querySelector('#prompts textarea').value.includes('?')")
    page.locator("#prompts-go").click()
    page.wait_for_selector("#refused-summary h3", timeout=LONG)
    page.locator("#prompts-job .st-job").wait_for(state="detached")
    screens.take("2-prompts-checked")
    page.get_by_role("button", name="Only a few prompts?").click()
    page.locator("#variants-go:enabled").click()
    page.wait_for_selector("#variants tr[data-id]", timeout=LONG)
    page.locator("#variants-job .st-job").wait_for(state="detached", timeout=LONG)
    screens.take("2-prompts-more")
    page.locator("#prompts-next").click()

    page.locator("#tune-go").click()
    page.wait_for_selector("#tune-plots svg", timeout=LONG)  # the layers have been looked at
    screens.take("3-tune-running")
    page.wait_for_selector("#tune-words .st-success", timeout=LONG)
    page.locator("#tune-job .st-job").wait_for(state="detached", timeout=LONG)
    screens.take("3-tune")
    page.locator("#tune-next").click()

    page.wait_for_selector("#tiles .st-tile")
    page.locator("#compare-job .st-job").wait_for(state="detached", timeout=LONG)
    screens.take("4-compare")
    screens.take_for_readme(beside / "compare.png")
    page.get_by_role("button", name="What more or less strength gains and costs").click()
    page.wait_for_timeout(1000)  # it opens with a movement
    screens.take("4-compare-why")
    page.get_by_role("button", name="What more or less strength gains and costs").click()
    page.get_by_role("button", name="Does it hold in other words").click()
    page.locator("#steadiness-go:enabled").click()
    page.wait_for_selector("#steadiness-job .st-job")
    page.locator("#steadiness-job .st-job").wait_for(state="detached", timeout=LONG)
    page.locator("#sets").get_by_role("tab", name="Try any prompt").click()  # the lists are long, and stand above it
    screens.take("4-compare-other-words")
    page.locator("#sets").get_by_role("tab", name=re.compile("^Harmful")).click()
    page.wait_for_selector("#set-harmful tbody tr")
    page.locator("#compare-next").click()

    page.wait_for_selector("#export-go")
    screens.take("5-export")


if __name__ == "__main__":
    main()
