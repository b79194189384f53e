"""A real browser for the tests of pages: the system's Chromium without a window, driven by Playwright.

``browser_page`` opens a file as a reader would, from disk. All that the page asks for, its errors and its console's are
kept, so that a test can say that a page works alone: :meth:`OpenedPage.assert_quiet`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 860}
ALONE = ("file:", "data:", "about:", "blob:")
"""How the address of a request starts that leaves this machine alone."""


@dataclass
class OpenedPage:
    """A page in the browser, and what it did since it was opened.

    Attributes:
        page: Playwright's own page.
        artefacts: the folder of screenshots.
        errors: errors of the page's script, and of its console.
        requests: the addresses of all that was asked for.
    """

    page: Page
    artefacts: Path
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Begin to keep what the page does."""
        self.page.on("pageerror", lambda error: self.errors.append(f"error: {error}"))
        self.page.on(
            "console",
            lambda line: self.errors.append(f"console: {line.text}") if line.type in ("error", "warning") else None,
        )
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: (self.errors.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def screenshot(self, name: str, full: bool = False) -> Path:
        """Keep a picture of what is on the screen, or of the whole page.

        Args:
            name: of the file, without its ending.
            full: the whole length of the page.
        """
        path = self.artefacts / f"{name}.png"
        self.page.screenshot(path=path, full_page=full)
        return path

    def assert_quiet(self) -> None:
        """Make sure that the page met no error and asked for nothing but files of this machine."""
        assert self.errors == []
        assert [url for url in self.requests if not url.startswith(ALONE)] == []

    def assert_no_sideways_scrolling(self) -> None:
        """Make sure that the page is not wider than the screen."""
        wide = self.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide[0] <= wide[1], f"the page is {wide[0]} pixels wide, the screen {wide[1]}"


def find_chromium() -> str | None:
    """The path of an installed Chromium, None if there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The browser, one for all tests of a process."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the extra dev)")
    program = find_chromium()
    if program is None:
        pytest.skip(f"none of {', '.join(PROGRAMS)} is installed (Debian, Ubuntu: apt install chromium)")
    with playwright.sync_playwright() as driver:
        # The sandbox refuses to start for root, as whom containers run; the pages are our own.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def artefacts(tmp_path: Path) -> Path:
    """Where screenshots are kept: the folder named by GTR_ARTEFACTS, else the test's own."""
    folder = Path(os.environ.get("GTR_ARTEFACTS") or tmp_path / "artefacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def browser_page(chromium: Browser, artefacts: Path) -> Iterator[Callable[..., OpenedPage]]:
    """Open a file in the browser: ``browser_page(path, phone=True, dark=True, script=False)``."""
    contexts = []

    def open_page(
        path: Path, *, dark: bool = False, phone: bool = False, script: bool = True, anchor: str = "", **options: Any
    ) -> OpenedPage:
        context = chromium.new_context(
            viewport=options.pop("viewport", PHONE if phone else DESKTOP),
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
            is_mobile=phone,
            has_touch=phone,
            offline=True,
            **options,
        )
        contexts.append(context)
        context.set_default_timeout(10_000)
        opened = OpenedPage(context.new_page(), artefacts)
        opened.watch()
        opened.page.goto(path.resolve().as_uri() + anchor)
        return opened

    yield open_page
    for context in contexts:
        context.close()
