"""Threads for what a close-out waits for: the projection, and the outbox. Whoever only reads has the loop's own, and
may fill those with slow queries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_OWN = ThreadPoolExecutor(8, "effects")


async def in_own_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Like `asyncio.to_thread`, in threads that no reader takes."""
    return await asyncio.get_running_loop().run_in_executor(_OWN, partial(function, *args, **kwargs))
