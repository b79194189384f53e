"""The site in a real browser: rows sort, filters filter, keys work, nothing goes wrong and nothing is asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gtr_envs.experts import SolverPolicy
from leaderboard.agents import AgentCard
from leaderboard.site import write_site
from leaderboard.summary import find_results

from .browser import OpenedPage
from .conftest import SayingPolicy, evaluate_into
from .test_site import ATTACKS, write_run
from .test_table import in_rooms, made_up

if TYPE_CHECKING:
    from playwright.sync_api import Page

BrowserPage = Callable[..., OpenedPage]
ROWS = "section[data-source='{}'] table tbody tr:not([hidden])"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up results: two agents on three splits of two environments, one of them without a success in one seed."""
    results = [
        made_up("TtEt"),
        made_up("TTTT", agent="b"),
        made_up("tttt", seed=1),
        made_up("EEe", split="test"),
        made_up("Eee", split="test", agent="b"),
        in_rooms("TTt"),
        in_rooms("T", agent="b", method="a-method-with-a-very-long-name-that-nobody-asked-for-1234567890"),
    ]
    folder = tmp_path_factory.mktemp("made-up") / "site"
    write_site(folder, results)
    return folder


def column(page: Page, place: int, source: str = "measured") -> list[str]:
    """The sort values of a column's rows that are shown."""
    cells = page.locator(f"{ROWS.format(source)} > :nth-child({place})")
    return [cell.get_attribute("data-sort") or "" for cell in cells.all()]


def test_rows_sort_by_mouse_and_keyboard(browser_page: BrowserPage, site: Path) -> None:
    opened = browser_page(site / "index.html")
    page = opened.page
    before = column(page, 4)
    head = page.locator("section[data-source='measured'] th[data-key='success']")
    head.locator("button").click()
    rates = [float(value) for value in column(page, 4)]
    assert rates == sorted(rates, reverse=True) != [float(value) for value in before]
    assert head.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")  # the button has the focus
    assert [float(value) for value in column(page, 4)] == sorted(rates)
    assert head.get_attribute("aria-sort") == "ascending"
    assert page.url.endswith("#sort=success")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    returns = [float(value) for value in column(page, 5)]
    assert returns == sorted(returns, reverse=True)
    assert head.get_attribute("aria-sort") == "none"
    page.locator("section[data-source='measured'] th[data-key='agent'] button").click()
    assert column(page, 1) == sorted(column(page, 1))
    page.locator("#filters button").click()
    assert column(page, 4) == before
    opened.assert_quiet()


def test_what_is_not_known_is_sorted_last(browser_page: BrowserPage, site: Path) -> None:
    opened = browser_page(site / "index.html")
    button = opened.page.locator("section[data-source='reported'] th[data-key='return'] button")
    for _ in range(2):
        button.click()
        values = column(opened.page, 4, "reported")
        assert (values[0] != "", values[-5:]) == (True, [""] * 5)  # no return is reported for ALFWorld
    opened.assert_quiet()


def test_filters_filter_and_stand_in_the_address(browser_page: BrowserPage, site: Path) -> None:
    opened = browser_page(site / "index.html")
    page = opened.page
    status = page.locator("#shown")
    assert status.inner_text() == "18 of 18 lines"
    page.select_option("select[name=env]", "gtr/Points24-v0")
    assert len(column(page, 1)) == 4
    assert page.locator("figure.plot:not([hidden])").count() == 2
    page.select_option("select[name=split]", "test")
    assert column(page, 1) == ["a", "b"]
    assert page.locator("figure.plot:not([hidden])").count() == 1
    assert page.locator("section[data-source='reported'] .none").is_visible()
    page.select_option("select[name=source]", "measured")
    assert not page.locator("section[data-source='reported']").is_visible()
    assert status.inner_text() == "2 of 18 lines"
    assert page.url.endswith("#env=gtr%2FPoints24-v0&split=test&source=measured")
    again = browser_page(site / "index.html", anchor="#env=gtr%2FPoints24-v0&split=test&sort=-agent")
    assert column(again.page, 1) == ["b", "a"]
    assert again.page.input_value("select[name=split]") == "test"
    again.page.evaluate("location.hash = '#env=gone&split=test&source=reported&sort=nothing'")
    again.page.wait_for_function("document.querySelector('select[name=source]').value === 'reported'")
    assert again.page.input_value("select[name=env]") == ""
    for each in (opened, again):
        each.assert_quiet()


def test_without_script_everything_is_there(browser_page: BrowserPage, site: Path) -> None:
    opened = browser_page(site / "index.html", script=False)
    assert opened.page.locator("tbody tr").count() == 18
    assert not opened.page.locator("#filters").is_visible()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real episodes with pictures, thoughts that attack, a learning curve and replays."""
    folder = tmp_path_factory.mktemp("played")
    evaluation = evaluate_into(folder / "results")
    evaluation(SolverPolicy(), 3, agent=AgentCard("expert", "expert", "expert"))
    card = AgentCard("said", "x", "ppo", "base", None, 0.5)
    for seed in (0, 1):
        evaluation(SayingPolicy(" ".join(ATTACKS)), 3, seed=seed, agent=card)
    write_run(folder / "runs" / "said", 12)
    write_site(folder / "site", find_results([folder / "results"]), runs=[folder / "runs"], replays=True)
    return folder / "site"


@pytest.mark.parametrize(("phone", "dark"), [(False, False), (True, True)])
def test_pages_are_whole_on_any_screen(browser_page: BrowserPage, played: Path, phone: bool, dark: bool) -> None:
    look = f"{'dark' if dark else 'light'}-{'phone' if phone else 'desktop'}"
    grounds = set()
    for name in ("index.html", "agents/said.html", "agents/expert.html"):
        opened = browser_page(played / name, phone=phone, dark=dark)
        page = opened.page
        for image in page.locator("details[open] img").all():
            image.scroll_into_view_if_needed()
            assert image.evaluate("async image => (await image.decode(), image.naturalWidth)") == 300
        opened.assert_no_sideways_scrolling()
        if "GTR_ARTEFACTS" in os.environ:  # pictures of whole pages take longer than all the rest
            opened.screenshot(f"site-{name.split('/')[-1].removesuffix('.html')}-{look}", full=True)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        opened.assert_quiet()
    assert grounds == {"rgb(18, 22, 21)" if dark else "rgb(246, 245, 241)"}


def test_a_model_cannot_run_anything(browser_page: BrowserPage, played: Path) -> None:
    opened = browser_page(played / "agents" / "said.html")
    page = opened.page
    assert ATTACKS[0] in page.locator(".thought").first.inner_text()
    assert page.locator("script").count() == 0
    assert page.locator("circle.dot").count() == 36  # three curves of twelve updates
    page.locator("details.episode a").first.click()
    assert "replays/said-" in page.url
    opened.assert_quiet()


def test_text_can_be_read_against_its_ground(browser_page: BrowserPage, played: Path) -> None:
    """Contrast of at least 4.5 to 1 (WCAG AA) for the colours that carry text, in both schemes."""
    pairs = [("ink", "paper"), ("ink", "card"), ("soft", "card"), ("soft", "paper"), ("accent", "card")]
    pairs += [(tone, f"{tone}-bg") for tone in ("good", "bad", "warn")] + [("accent", "paper")]
    for dark in (False, True):
        page = browser_page(played / "index.html", dark=dark).page
        for text, ground in pairs:
            ratio = page.evaluate(CONTRAST, [f"--{text}", f"--{ground}"])
            assert ratio >= 4.5, (dark, text, ground, ratio)


CONTRAST = """names => {
  const light = name => {
    const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
    const [r, g, b] = [0, 2, 4].map(at => parseInt(hex.slice(at, at + 2), 16) / 255)
      .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [one, other] = names.map(light).sort((a, b) => b - a);
  return (one + 0.05) / (other + 0.05);
}"""


def test_the_manifest_lists_every_file(played: Path) -> None:
    files = sorted(str(path.relative_to(played)) for path in played.rglob("*") if path.is_file())
    assert json.loads((played / "site.json").read_text())["files"] == files


def test_a_phone_tells_lines_of_other_rules_apart(browser_page: BrowserPage, tmp_path: Path) -> None:
    write_site(tmp_path / "site", [made_up("TtEt"), made_up("TTTT", rules="strict max_steps=5")])
    places = browser_page(tmp_path / "site" / "index.html", phone=True).page.locator(
        "section[data-source='measured'] .where"
    )
    assert sorted(places.all_inner_texts()) == [
        "gtr/Points24-v0 · all",
        "gtr/Points24-v0 · all · strict max_steps=5",
    ]
    assert places.first.is_visible()
