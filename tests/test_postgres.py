"""The fixture for PostgreSQL: each test has a new database, and the server goes with the process that started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_a_new_empty_database(turn: int, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE mine (turn integer)")
        assert postgres_url.startswith("postgresql://")


@pytest.mark.usefixtures("postgres_server")
def test_the_server_goes_with_a_killed_process() -> None:
    script = """from tests.postgres import running_server
with running_server() as url: print(url, flush=True); input()"""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert process.stdout is not None
    url = process.stdout.readline().decode().strip()
    psycopg.connect(url).close()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    folder = Path(url.partition("host=")[2])
    while folder.exists():
        time.sleep(0.02)
