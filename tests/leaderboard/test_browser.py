"""The browser that tests pages sees what goes wrong on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .browser import OpenedPage

BrowserPage = Callable[..., OpenedPage]


def written(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "page.html"
    path.write_text(f"<!DOCTYPE html><title>t</title><body>{body}", "utf-8")
    return path


def test_a_plain_page_is_quiet(browser_page: BrowserPage, tmp_path: Path) -> None:
    opened = browser_page(written(tmp_path, "<h1>hello</h1><img src='data:,'>"), dark=True)
    assert opened.page.inner_text("h1") == "hello"
    assert opened.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert opened.screenshot("browser-plain").stat().st_size > 500
    opened.assert_quiet()
    opened.assert_no_sideways_scrolling()


@pytest.mark.parametrize(
    "body",
    [
        "<script>throw Error('x')</script>",
        "<script>console.error('x')</script>",
        "<script>alert('x')</script>",
        "<img src='https://example.invalid/x.png'>",
    ],
)
def test_errors_and_requests_are_seen(browser_page: BrowserPage, tmp_path: Path, body: str) -> None:
    opened = browser_page(written(tmp_path, body))
    with pytest.raises(AssertionError):
        opened.assert_quiet()


def test_a_page_that_is_too_wide_for_a_phone_is_seen(browser_page: BrowserPage, tmp_path: Path) -> None:
    body = "<meta name=viewport content='width=device-width'><p style='width:2000px'>x</p>"
    opened = browser_page(written(tmp_path, body), phone=True)
    with pytest.raises(AssertionError, match="pixels wide"):
        opened.assert_no_sideways_scrolling()
