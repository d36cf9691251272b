"""One browser and one slow demo for the tests of a module that need nothing of their own."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from tests.browser.pages import Demo, browser, demo


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with demo(tmp_path_factory.mktemp("demo"), "--market", "march-12", "--speed", "10") as found:
        yield found
