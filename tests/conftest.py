"""What all tests share: hypothesis profiles, and an option that lets no test be skipped unseen."""

import hashlib
import os
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

_COMPILED = ("core/units.py", "engine/book.py", "engine/kernels.py", "engine/triggers.py", "engine/wheels.py")
"""What the compiled code is made of. Numba's cache of a file does not notice that what it calls has changed in another,
so each state of them all has a cache of its own."""


def _cache_of_kernels() -> Path:
    root = Path(__file__).resolve().parents[1]
    sources = b"".join((root / "src" / "closeout" / name).read_bytes() for name in _COMPILED)
    return root / ".pytest_cache" / f"compiled-{hashlib.sha256(sources).hexdigest()[:16]}"


os.environ.setdefault("NUMBA_CACHE_DIR", str(_cache_of_kernels()))

# No deadline: a slow machine is not a wrong answer. Under CI the examples are the same in every run.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# Where nobody has configured logs, a traceback is printed without the variables of each frame, which takes seconds.
structlog.configure(processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)])

pytest_plugins = ["tests.postgres"]


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    """Of several workers that find no compiled code one makes it while the others wait: each would take a quarter of a
    minute for itself. What is wrong with the code is for its tests to say."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    with suppress(Exception):
        import fcntl

        from tests.engine.index_books import starts
        from tests.engine.index_walk import SMALL, Walk

        folder = Path(os.environ["NUMBA_CACHE_DIR"])
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            Walk.of(0, starts()["mechanisms"], SMALL).run()


FORBID_SKIPS = "--forbid-skips"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(FORBID_SKIPS, action="store_true", help="a skipped test fails, and the number skipped is printed")


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    if config.getoption(FORBID_SKIPS) and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{reason} (not allowed under {FORBID_SKIPS})"
        vars(report)["was_skipped"] = True  # travels with the report from a worker to the one that prints


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report, collector.config)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption(FORBID_SKIPS):
        reports = [report for reports in terminalreporter.stats.values() for report in reports]
        skipped = sum(getattr(report, "was_skipped", False) for report in reports)
        terminalreporter.write_line(f"tests skipped: {skipped}")
