#!/usr/bin/env python3
"""The project's tasks. Needs only Python 3.11 or newer; everything else goes into `.venv`, as the lock file says.

    python3 tasks.py demo  [ARGS]   play two recorded crashes to their end and print what came of them
    python3 tasks.py test  [ARGS]   the tests, on all cores; ARGS go to pytest
    python3 tasks.py check          format, lint, types (the pages' too), and the rules that no test names
    python3 tasks.py bench [ARGS]   the benchmarks; ARGS go to `closeout bench`
    python3 tasks.py lock  [ARGS]   write requirements.lock anew; ARGS go to uv, such as --upgrade
    python3 tasks.py setup          only make `.venv`, or bring it up to date

The first call makes `.venv` and builds the pages, later ones only when pyproject.toml, requirements.lock or frontend/
has changed. What the tasks say about themselves goes to standard error. The exit code is that of the command run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LOCK = ROOT / "requirements.lock"
FRONTEND = ROOT / "frontend"
PAGES = ROOT / "src" / "closeout" / "web" / "static" / "index.html"
VENV = ROOT / ".venv"
STAMP = VENV / "closeout-setup.txt"
NOT_LOCKED = ("bench",)
"""Extras that neither running closeout nor testing it needs."""
LOCK_HEADER = (
    "# All packages for running closeout and working on it. Written by `python3 tasks.py lock`; do not edit.\n"
)


def bin_dir(environment: Path) -> Path:
    return environment / ("Scripts" if os.name == "nt" else "bin")


PYTHON = bin_dir(VENV) / ("python.exe" if os.name == "nt" else "python")


def say(text: str) -> None:
    print(f"tasks: {text}", file=sys.stderr, flush=True)


def main(args: list[str]) -> int:
    verb, rest = (args[0], args[1:]) if args else ("help", [])
    verbs = {"demo": demo, "test": test, "check": check, "bench": bench, "setup": lambda _: 0}
    if verb == "lock":
        return write_lock(rest)
    if verb not in verbs:
        print((__doc__ or "").strip(), file=sys.stdout if verb in ("help", "-h", "--help") else sys.stderr)
        return 0 if verb in ("help", "-h", "--help") else 2
    try:
        set_up(again=verb == "setup" and FRONTEND.is_dir() and not PAGES.exists())
    except subprocess.CalledProcessError as error:
        say("setting up .venv failed; the lines above say why")
        return error.returncode
    return verbs[verb](rest)


# The verbs


def demo(args: list[str]) -> int:
    return hand_over([str(bin_dir(VENV) / "closeout"), "demo", "--once", *args])


def bench(args: list[str]) -> int:
    return hand_over([str(bin_dir(VENV) / "closeout"), "bench", *args])


def test(args: list[str]) -> int:
    """A worker has its tests in the order of the files, so that what a file's tests share is made once."""
    os.chdir(ROOT)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # some hundred processes are started: each would compile everything
    return hand_over([str(PYTHON), "-m", "pytest", "-n", "auto", "--dist", "worksteal", *args])


def check(_: list[str]) -> int:
    """Run every check even if one fails, so that one call shows all there is to mend."""
    steps = {
        "format": ["-m", "ruff", "format", "--check", "."],
        "lint": ["-m", "ruff", "check", "."],
        "types": ["-m", "pyright"],
        "rules": ["tests/rules_without_test.py"],
        "pages": ["hatch_build.py", "check"],
    }
    failed: list[str] = []
    for name, command in steps.items():
        say(f"check {name}")
        if subprocess.call([str(PYTHON), *command], cwd=ROOT) != 0:
            failed.append(name)
    say(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return 1 if failed else 0


def hand_over(command: list[str]) -> int:
    """Run the last command of a task. Where possible it takes this process's place, so that signals reach it."""
    if not Path(command[0]).exists():
        say(f"{Path(command[0]).name} is not installed; remove .venv and try again")
        return 1
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(command[0], command)  # noqa: S606
    return subprocess.call(command)


# The environment


def set_up(*, again: bool = False) -> None:
    """Make `.venv` match the lock file and install the package into it, editable; nothing to do when it does, unless it
    is to be done `again`."""
    with one_at_a_time():
        place, digest = str(ROOT), wanted_digest()
        stamp = STAMP.read_text(encoding="utf-8").splitlines() if STAMP.exists() else []
        if stamp == [place, digest] and PYTHON.exists() and not again:
            return
        begun = time.monotonic()
        say("bringing .venv up to date" if stamp[:1] == [place] else "making .venv (once, about a minute)")
        STAMP.unlink(missing_ok=True)
        if stamp[:1] != [place] or not runs(PYTHON):  # new, moved, half made, or its Python is gone
            make_venv(VENV)
        pip(PYTHON, "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK))
        if subprocess.call([str(PYTHON), "hatch_build.py"], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sys.stderr) != 0:
            say("the pages could not be built, the lines above say why; all else works, and `setup` tries again")
        pip(PYTHON, "--no-deps", "--no-build-isolation", "-e", str(ROOT))
        STAMP.write_text(f"{place}\n{digest}\n", encoding="utf-8")
        say(f".venv matches requirements.lock, after {time.monotonic() - begun:.0f} s")


def wanted_digest() -> str:
    """Of what `.venv` and the pages are made of."""
    digest = hashlib.sha256()
    sources = (
        path for path in FRONTEND.rglob("*") if not {"node_modules", "dist"} & set(path.relative_to(FRONTEND).parts)
    )
    for path in (LOCK, ROOT / "pyproject.toml", ROOT / "hatch_build.py", *sorted(sources)):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def runs(python: Path) -> bool:
    return python.exists() and subprocess.call([str(python), "-c", ""]) == 0


def make_venv(folder: Path) -> None:
    if folder.exists() and Path(sys.prefix).resolve() == folder.resolve():
        raise SystemExit("tasks: .venv must be made anew; call this with the system's Python, not the one in .venv")
    venv.create(folder, clear=True, with_pip=True)


def pip(python: Path, *args: str) -> None:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-qq", *args]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let a second call wait while a first one sets up; it holds the lock file, so nothing is left behind."""
    with LOCK.open("rb") as held:
        try:
            import fcntl
        except ImportError:  # not on Windows
            pass
        else:
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def extras() -> list[str]:
    """The extras of pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return list(tomllib.load(file)["project"]["optional-dependencies"])


def write_lock(args: list[str]) -> int:
    """Resolve pyproject.toml for every supported Python and system; the file written names no address."""
    with tempfile.TemporaryDirectory() as folder:
        environment, draft = Path(folder) / "venv", Path(folder) / LOCK.name
        make_venv(environment)
        pip(bin_dir(environment) / "python", "uv>=0.9")
        if LOCK.exists():
            shutil.copy(LOCK, draft)  # versions stay as they are unless --upgrade is given
        command = [str(bin_dir(environment) / "uv"), "pip", "compile", "pyproject.toml", "-o", str(draft), "--quiet"]
        command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--group", "dev"]
        command += [f"--extra={extra}" for extra in extras() if extra not in NOT_LOCKED]
        command += ["--no-header", "--no-annotate", *args]
        code = subprocess.call(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        if code != 0:
            return code
        kept = [
            line for line in draft.read_text(encoding="utf-8").splitlines() if line[:1].isalnum() or "--hash" in line
        ]
    if any("://" in line for line in kept):
        say("a locked package comes from an address, which the lock must not name")
        return 1
    LOCK.write_text(LOCK_HEADER + "\n".join(kept) + "\n", encoding="utf-8")
    say(f"wrote {LOCK.name}: {sum(line[:1].isalnum() for line in kept)} packages")
    return 0


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 (this is where an older one is told)
        raise SystemExit("tasks: Python 3.11 or newer is needed")
    raise SystemExit(main(sys.argv[1:]))
