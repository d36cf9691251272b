"""`closeout demo` and `closeout serve` as processes, as a user has them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

WAIT = 60


@dataclass
class Running:
    """A service that is ready. After the block `code`, `out` and `err` say how it ended."""

    process: subprocess.Popen[str]
    said: dict[str, Any]
    http: httpx.Client
    code: int | None = None
    out: str = ""
    err: str = ""
    last: dict[str, Any] = field(default_factory=dict)

    def key(self, role: str) -> str:
        found = self.said["keys"][role]
        return found["key"] if isinstance(found, dict) else found

    def get(self, path: str, role: str = "auditor") -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key(role)}"} if role else {}
        return self.http.get(self.said["url"] + path, headers=headers)

    def until(self, path: str, seen: Callable[[Any], object], role: str = "customer") -> Any:
        """The first answer in which what is waited for is seen."""
        while not seen(answer := self.get(path, role).json()):
            assert self.process.poll() is None
            time.sleep(0.02)
        return answer

    def stop(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.out, self.err = self.process.communicate(timeout=WAIT)
        self.code = self.process.returncode


@contextmanager
def running(folder: Path, *arguments: object, how: signal.Signals = signal.SIGINT) -> Iterator[Running]:
    """`closeout ARGUMENTS --json` in a folder, until it is stopped by the signal."""
    command = [sys.executable, "-m", "closeout.cli", *map(str, arguments), "--json"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, **pipes) as process, httpx.Client(timeout=30) as http:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate(timeout=WAIT)[1]
            found = Running(process, json.loads(line), http)
            yield found
            if found.code is None:
                found.stop(how)
        finally:
            process.kill()
