"""The form for the token, which a browser gets where it has no session. It works without scripts."""

import html
from pathlib import Path

FOLDER = Path(__file__).parent / "page"
HTML = "text/html; charset=utf-8"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    # With "no-referrer", browsers send the form with `Origin: null`, which is refused (`hosts.py`).
    "Referrer-Policy": "same-origin",
}
_FORM = (FOLDER / "session.html").read_text(encoding="utf-8")


def form(section: str, wrong: str = "") -> bytes:
    """The page. `section`: of the settings with the token; `wrong`: what was wrong with one that was sent."""
    return _FORM.replace("{section}", section).replace("{wrong}", html.escape(wrong)).encode()
