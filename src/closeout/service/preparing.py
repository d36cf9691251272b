"""Compiles the trigger index before the book is so large that the engine makes one: an input that had to wait for the
compiler would be the only one for some twenty seconds. Run as a module it compiles into Numba's cache and ends."""

from __future__ import annotations

import asyncio
import sys

from closeout.engine.engine import initial_state
from closeout.rulebooks import loader
from closeout.service.logs import logger
from closeout.service.writer import Writer

LOG = logger(__name__)
LOOK = 1.0
"""Seconds between two looks at the size of the book."""


def compile_index() -> None:
    """Have the index's functions compiled, or read from the cache, in this process, by an index over an empty book."""
    from closeout.engine.index import Index  # small books never wait for it

    Index.over(initial_state(loader.load("reference").document()))


async def prepare_index(writer: Writer) -> None:
    """Once the book has half as many positions as an index is for: compile in a process of its own, which leaves this
    one its interpreter, and then read the result in a thread."""
    while (state := writer.engine.loaded).index is None:
        if 2 * state.book.positions.count >= state.index_from:
            process = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__)
            try:
                code = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            await asyncio.to_thread(compile_index)
            LOG.info("trigger index prepared", positions=state.book.positions.count, compiler=code)
            return
        await asyncio.sleep(LOOK)


if __name__ == "__main__":
    compile_index()
