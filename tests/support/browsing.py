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
