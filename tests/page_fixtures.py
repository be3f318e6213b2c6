"""One browser for all tests of the page: it takes longer to start than most of them to run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chromium import Browser


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


def leave(browser: Browser) -> list[str]:
    """Leave the page, and return what went wrong in it.

    The page of a server that has ended would go on looking for it.
    """
    browser.open("about:blank")
    browser.run("1")
    found, browser.problems = browser.problems, []
    return found
