"""Requests that schemathesis makes up from the OpenAPI document, against the running service.

A run without an environment variable is short; ``CLOSEOUT_EXAMPLES=200`` tries more of each operation.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from tests.service.api.harness import running, served

from closeout.engine.commands import SessionChange

EXAMPLES = os.environ.get("CLOSEOUT_EXAMPLES", "1")
UNCHECKED = "positive_data_acceptance"
"""A document cannot say that a price lies on its contract's tick, or that a cursor is one that was given out."""


@pytest.mark.parametrize("role", ["customer", "broker", "supervisor"])
def test_any_request_is_answered_as_the_document_says(tmp_path: Path, role: str) -> None:
    async def run() -> None:
        async with running(tmp_path) as service:
            session = service.context.writer.engine.loaded.contracts["MBT"].session
            assert session is not None
            await service.put_in(SessionChange(session, "intraday", is_open=True))
            await service.mark({"MBT": 14_000})
            async with served(service) as where:
                process = await asyncio.create_subprocess_exec(
                    str(Path(sys.executable).with_name("schemathesis")), "run", f"http://{where}/openapi.json",
                    "--header", f"Authorization: Bearer {role}", "--max-examples", EXAMPLES, "--no-color",
                    "--exclude-checks", UNCHECKED, *(("--phases", "examples,fuzzing") if EXAMPLES == "1" else ()),
                    *(("--seed", "1") if os.environ.get("CI") else ()),
                    cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
                )  # fmt: skip
                output, _ = await process.communicate()
            await service.projected()
            assert process.returncode == 0, output.decode()[-20_000:]

    asyncio.run(run())
