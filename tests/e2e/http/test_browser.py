"""A browser, direct and through the gateway: a page, and what its script fetches."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from tests.e2e.http.conftest import Way
from tests.support.chromium import Chromium
from tests.support.processes import wait_for


def test_a_page_fetches(way: Way, tmp_path: Path) -> None:
    """Signed in with what stands in the address, which the browser then sends by itself."""
    place = urlsplit(way.base)
    who = f"app:{way.token}@" if way.token else ""
    with Chromium(tmp_path) as browser:
        browser.visit(f"http://{who}{place.netloc}{place.path}/page")
        wait_for(lambda: browser.text == "it says hello", "the page shows what it fetched")
