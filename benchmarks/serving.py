"""A real service for benchmarks: its folder, its book, its process, and the processes around it."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, Any, NoReturn

import msgspec

from benchmarks.exchange import Spec
from closeout.engine.commands import AnyCommand, Input, Mark, Marks
from closeout.engine.state import State
from closeout.rulebooks import loader
from closeout.service.access import make_key
from closeout.service.applied import Applied
from closeout.service.schedule import Schedule
from closeout.service.vault import Vault

ROOT = Path(__file__).parents[1]
RULEBOOK = "kraken-us:as_if_24x7"
PATIENCE = 120
"""Seconds until a process must have said that it is ready, or have ended."""
Fill = Callable[[State], None]


@dataclass(frozen=True)
class Place:
    """A service's folder: its configuration and the keys that open it, by role."""

    config: Path
    keys: Mapping[str, str]


def prepare(
    folder: Path, feed_url: str, markets: Mapping[str, str], prices: Mapping[str, float], fill: Fill, streams: int = 20
) -> Place:
    """Write a configuration, and a journal whose only snapshot holds the book that `fill` makes.

    `markets`: contract -> the feed's product. `prices`: contract -> first mark.
    """
    keys: dict[str, str] = {}
    lines = [f'rulebook = "{RULEBOOK}"', "[listen]", "port = 0", "[service]", f"streams_per_key = {streams}"]
    lines += ['log_level = "warning"', "[[feeds]]", 'name = "kraken"', 'kind = "kraken_futures"']
    lines += [f'url = "{feed_url}"', "[contracts]"]
    lines += [
        f'{name} = {{ sources = [{{ feed = "kraken", market = "{product}" }}] }}' for name, product in markets.items()
    ]
    for role in ("broker", "desk"):
        keys[role], key = make_key(role, f"bench {role}", role, per_minute=10_000_000)
        lines.append(key.as_table())
    config = folder / "closeout.toml"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    _write_book(folder, prices, fill)
    return Place(config, keys)


def _write_book(folder: Path, prices: Mapping[str, float], fill: Fill) -> None:
    """A journal with the sessions of this moment and a mark of each contract, then the book in a snapshot."""
    rulebook = loader.load(RULEBOOK)
    journal, store = folder / "closeout.journal", folder / "closeout.store"
    vault = Vault.open(str(journal), str(store), rulebook, time.time_ns(), webhooks=False)
    try:
        schedule, state = Schedule(rulebook, "07:00"), vault.engine.loaded
        now = time.time_ns()
        marks = [
            Mark(name, round(price / float(state.contracts[name].contract.tick))) for name, price in prices.items()
        ]
        commands: list[AnyCommand] = [*schedule.at_start(state, now), Marks(tuple(marks))]
        inputs = [Input("bench", number, now, command) for number, command in enumerate(commands, 1)]

        def write() -> None:
            vault.journal.append(inputs)
            for seq, given in enumerate(inputs, 2):
                events = vault.engine.apply(given)
                vault.journal.record(seq, events)
                applied.append(Applied(seq, given, events))
            fill(vault.engine.loaded)

        applied: list[Applied] = []
        vault.thread.submit(write).result()
        vault.store.project(applied)
        vault.thread.submit(vault.snapshot).result()
    finally:
        vault.close()


# -- processes ---------------------------------------------------------------------------------------


class Process:
    """A process that says on its first line of output, as JSON, where it is, and at its end what it did.

    `peaks` of memory and time on the processor are 0 where the system has no /proc.
    """

    def __init__(self, command: list[str], log: Path) -> None:
        self._log: IO[bytes] = log.open("ab")
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self.said: dict[str, Any] = {}
        self._where = log

    @property
    def pid(self) -> int:
        return self._process.pid

    def first(self) -> dict[str, Any]:
        """Wait until it is ready."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait(PATIENCE)
            self._fail()
        self.said = json.loads(line)
        return self.said

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def last(self) -> dict[str, Any]:
        """Close its input, and wait for what it says at its end."""
        out, _ = self._process.communicate(timeout=PATIENCE)
        if not out or self._process.returncode:
            self._fail()
        return json.loads(out.splitlines()[-1])

    def _fail(self) -> NoReturn:
        log = self._where.read_text(errors="replace")
        raise RuntimeError(f"{self._process.args} ended with {self._process.returncode}: {log[-2000:]}")

    def end(self) -> None:
        """Ask it to stop, and see that it does."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._log.close()

    def seconds(self) -> float:
        """Time on the processor so far."""
        stat = Path(f"/proc/{self.pid}/stat")
        return processor_seconds(stat.read_text()) if stat.exists() else 0.0

    def memory(self) -> float:
        """MiB that it holds now."""
        status = Path(f"/proc/{self.pid}/statm")
        if not status.exists():
            return 0.0
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def processor_seconds(stat: str) -> float:
    """Time on the processor so far, by a process's line in /proc/PID/stat."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def process(command: list[str], log: Path, spec: str = "") -> Iterator[Process]:
    """A Python process; `spec`, where given, is the first line of its input."""
    running = Process([sys.executable, *command], log)
    try:
        if spec:
            running.tell(spec)
        running.first()
        yield running
    finally:
        running.end()


def exchange(spec: Spec, folder: Path) -> contextlib.AbstractContextManager[Process]:
    """The venue's server; its `said["url"]` is where."""
    return process(["-m", "benchmarks.exchange"], folder / "exchange.log", msgspec.json.encode(spec).decode())


def service(place: Place) -> contextlib.AbstractContextManager[Process]:
    """`closeout serve`; its `said["url"]` is where."""
    command = ["-m", "closeout.cli", "serve", "--config", str(place.config), "--json"]
    return process(command, place.config.parent / "service.log")


def address(url: str) -> tuple[str, int]:
    host, _, port = url.rpartition("/")[2].rpartition(":")
    return host, int(port)


def is_ready(url: str) -> bool:
    """Whether every part of the service says that it is ready."""
    connection = HTTPConnection(*address(url), timeout=PATIENCE)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    finally:
        connection.close()
