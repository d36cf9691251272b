"""Running a service in the foreground: signals, and what is said at the start."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from closeout.core.units import InputError
from closeout.service.config import load_config
from closeout.service.logs import configure
from closeout.service.service import Service


def serve(path: Path, *, check_only: bool, as_json: bool) -> None:
    """Run the service of a configuration file until Ctrl-C or SIGTERM; `InputError` for what is wrong with it."""
    from closeout.service import parts

    config = load_config(path)
    try:
        parts.check(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if check_only:
        print(json.dumps({"file": str(path), "ok": True}) if as_json else f"{path}: good")
        return
    configure(config.service.log_level)

    async def running() -> None:
        service = parts.serve(config)

        def ready() -> None:
            url = service.server.address
            print(json.dumps({"url": url}) if as_json else f"closeout listens on {url}", flush=True)

        await run_until_signal(service, ready)

    run_loop(running())


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """`asyncio.run` on uvloop where there is one, which takes half as long over a request's sockets."""
    if find_spec("uvloop") is None:  # on Windows
        asyncio.run(main)
        return
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


async def run_until_signal(service: Service, ready: Callable[[], None]) -> None:
    """Run until Ctrl-C or SIGTERM; what was acknowledged is in the journal however it ends."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, service.stop.set)
    try:
        await service.run(ready)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
