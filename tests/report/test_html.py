"""The page in a real browser: what it shows, what it answers to, and that it asks nobody for anything."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import verdicts
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page, sync_playwright
from verdicts import HOSTILE

from unitrack.report import html

CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def shown(browser, tmp_path: Path):
    """Open a verdict's page; afterwards nothing may have been logged, thrown or asked for."""
    said, pages = [], []

    def show(verdict, **context) -> Page:
        file = tmp_path / "report.html"
        file.write_text(html.render(verdict), encoding="utf-8")
        page = browser.new_context(**context).new_page()
        pages.append(page)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: request.url != file.as_uri() and said.append(request.url))
        page.goto(file.as_uri())
        return page

    yield show
    for page in pages:
        page.context.close()
    assert said == []


def test_the_plots_show_each_seed_and_tell_its_value(shown) -> None:
    page = shown(verdicts.ordinary("fail"))
    assert page.locator("#seeds-plot .mark").count() == 10
    assert page.locator("#curves-plot path").count() == 10
    page.locator("#seeds-plot .mark.baseline").first.hover()
    assert page.locator("#tip").inner_text() == "seed 0: baseline 0.904"
    page.locator("#looks-plot .mark").last.focus()
    assert "after 5 pairs" in page.locator("#tip").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_another_metric_can_be_chosen(shown) -> None:
    page = shown(verdicts.ordinary("fail"))
    page.select_option("#metric", "val/log_loss")
    assert page.locator("#curves-plot").is_hidden()
    assert page.locator("#looks-plot .mark").count() == 4


def test_slices_are_filtered_and_sorted_with_the_keyboard_too(shown) -> None:
    page = shown(verdicts.ordinary("fail"))
    rows = page.locator("#slices tbody tr")
    assert rows.count() == 8
    page.fill("#search", "fr")
    assert rows.count() == 2
    page.fill("#search", "")
    page.select_option("#only", "fail")
    assert rows.count() == 1
    page.select_option("#only", "")
    head = page.locator("#slices th").nth(2)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert rows.first.locator("td").nth(2).inner_text() == "12"
    page.keyboard.press("Enter")
    assert rows.first.locator("td").nth(2).inner_text() == "659"


def test_without_scripts_it_says_the_same_and_shows_no_dead_controls(shown) -> None:
    page = shown(verdicts.ordinary("fail"), java_script_enabled=False)
    text = page.locator("main").inner_text()
    for part in ("Gate failed", "-0.05143 to -0.04857", "optimizer.lr", "unitrack gate --candidate", "country = no"):
        assert part in text
    assert page.locator("#search").is_hidden()
    assert page.locator("svg .mark.fail").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(shown, scheme: str) -> None:
    page = shown(verdicts.ordinary("fail"), color_scheme=scheme)
    colours = page.evaluate("['color', 'backgroundColor'].map(name => getComputedStyle(document.body)[name])")
    ink, paper = (_luminance(colour) for colour in colours)
    assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 7
    assert (ink > paper) == (scheme == "dark")


def _luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_on_a_phone_nothing_is_wider_than_the_screen(shown) -> None:
    page = shown(verdicts.ordinary("fail"), viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(shown, text: str) -> None:
    page = shown(verdicts.hostile(text))
    assert page.locator("script").count() == 2
    assert page.locator("img, a, iframe").count() == 0


def test_the_largest_verdict_is_usable(shown) -> None:
    page = shown(verdicts.huge())
    assert page.locator("#count").inner_text() == "500 of 25000 slices shown"
    page.fill("#search", "metric_003")
    assert page.locator("#count").inner_text() == "50 of 50 slices shown"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[object] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, [name for name, _ in attrs]))


def _tags(page: str) -> list[object]:
    parser = _Tags()
    parser.feed(page)
    return parser.found


PLAIN = _tags(html.render(verdicts.hostile("text")))


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=40))
def test_no_text_adds_an_element_or_attribute(text: str) -> None:
    page = html.render(verdicts.hostile(text))
    assert _tags(page) == PLAIN
    assert page.count("</script") == 2
    page.encode()
