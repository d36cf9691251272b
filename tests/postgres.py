"""A real PostgreSQL for tests: the fixture `postgres_url`, the address of a new empty database.

Each test process starts a server of its own when its first test asks for one: a private cluster in a temporary folder,
reached through a Unix socket in it. A shell keeps the server and waits for the end of its standard input, so that both
server and folder go with the test process, however that ends.
"""

import getpass
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "closeout"
PASSWORD = "open-sesame"  # noqa: S105 (the cluster trusts everybody who can reach its folder; tests look for this word)
KEEPER = """
"$1/pg_ctl" start -w -D data -l log -o "$2" >&2 && echo ready
read -r _
"$1/pg_ctl" stop -D data -m immediate
rm -rf "$PWD"
"""
SETTINGS = {
    "listen_addresses": "''",
    "fsync": "off",  # a killed client loses nothing by it, only a machine that loses power would
    "max_connections": "50",
    "shared_buffers": "16MB",
}


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, from PATH or where Debian keeps them; the newest version's."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    newest_first = sorted(versions, key=lambda path: float(path.parent.name), reverse=True)
    found = shutil.which("initdb") or shutil.which("initdb", path=os.pathsep.join(map(str, newest_first)))
    return Path(found).resolve().parent if found else None


def server_user() -> str:
    """Who runs the server, which refuses the superuser."""
    if os.geteuid() != 0:
        return getpass.getuser()
    import pwd

    return "postgres" if "postgres" in {entry.pw_name for entry in pwd.getpwall()} else "nobody"


@contextmanager
def running_server(**settings: str) -> Iterator[str]:
    """Start a server in a new folder, with settings of its own; the address of its database `postgres`. It is stopped,
    and its data gone, after.

    Skips the test where PostgreSQL is not installed."""
    folder_of_programs = programs()
    if folder_of_programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    user = server_user()
    identity = {"user": user, "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="closeout-postgres-"))
    try:
        if identity:
            shutil.chown(folder, user)
        options = ["--no-sync", "--no-instructions", "--no-locale", "--encoding=UTF8", "--auth=trust"]
        command = [str(folder_of_programs / "initdb"), "-D", "data", "-U", USER, *options]
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True, **identity)
        assert made.returncode == 0, made.stderr
        settings = SETTINGS | settings | {"unix_socket_directories": str(folder)}
        options = " ".join(f"-c {key}={value}" for key, value in settings.items())
        command = ["sh", "-c", KEEPER, "keeper", str(folder_of_programs), options]
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        with subprocess.Popen(command, cwd=folder, text=True, process_group=0, **pipes, **identity) as keeper:
            try:
                assert keeper.stdout is not None
                assert keeper.stdout.readline() == "ready\n", (folder / "log").read_text()
                yield f"postgresql://{USER}:{PASSWORD}@/postgres?host={folder}"
            finally:
                keeper.communicate("stop\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of this test process's server: its database `postgres`."""
    with running_server() as url:
        yield url


NUMBERS = itertools.count(1)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """`postgresql://...` of a new empty database, dropped after the test."""
    import psycopg

    name = f"test{next(NUMBERS)}"
    with psycopg.connect(postgres_server, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}".encode())
        yield postgres_server.replace("/postgres?", f"/{name}?")
        server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
