"""What tests of a page in a browser wait for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page


def shows(page: "Page", selector: str, text: str) -> None:
    """Wait until the element shows exactly this text."""
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector)?.innerText.trim() === text",
        arg=[selector, text],
    )


def has_rows(page: "Page", count: int, body: str = "#rows") -> None:
    """Wait until the table has this many rows."""
    page.wait_for_function(
        "([body, count]) => document.querySelectorAll(`${body} tr`).length === count",
        arg=[body, count],
    )


def tells(page: "Page", selector: str, part: str) -> None:
    """Wait until the element shows this among other text."""
    page.wait_for_function(
        "([selector, part]) => document.querySelector(selector)?.innerText.includes(part)",
        arg=[selector, part],
    )


def is_seen_whole(page, width, selector):
    """Assert that at this width the page scrolls down only, and that nothing of the selector is cut off."""
    page.set_viewport_size({"width": width, "height": 844})
    page.wait_for_function("(width) => innerWidth === width", arg=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut_off = page.evaluate(
        """(selector) => [...document.querySelectorAll(selector)]
           .filter((element) => element.scrollWidth > element.clientWidth + 1)
           .map((element) => element.id + element.className + element.innerText)""",
        selector,
    )
    assert cut_off == [], width
