"""Asks axe whether everybody can use a page: names, roles, contrast, headings, and what else it knows."""

from typing import TYPE_CHECKING

from tests.support.needed import lacking

if TYPE_CHECKING:
    from playwright.sync_api import Page


def barriers(page: "Page") -> list[str]:
    """What axe finds on a page as it is now, a line each; empty if nothing."""
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        lacking("axe-playwright-python is not installed; it looks for barriers on the pages")
        raise
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {', '.join(str(node['target']) for node in one['nodes'])}"
        for one in found
    ]
