"""How the built pages are served, and that a wheel has them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

from closeout.engine import limits, orders
from closeout.web.pages import STATIC, handlers

ROOT = Path(__file__).parents[2]


def site(static: Path) -> httpx.AsyncClient:
    app: Any = Litestar(handlers(static), openapi_config=None)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://closeout.test")


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["/", "/desk"])
async def test_both_pages_are_the_same_document_and_are_asked_for_anew(path: str) -> None:
    async with site(STATIC) as client:
        answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.content == (STATIC / "index.html").read_bytes()


@pytest.mark.asyncio
async def test_a_slash_too_many_does_not_lose_what_the_document_names() -> None:
    async with site(STATIC) as client:
        answer = await client.get("/desk/?account=A1")
        assert (answer.status_code, answer.headers["location"]) == (308, "../desk?account=A1")
        assert (await client.get("/desk/", follow_redirects=True)).content == (STATIC / "index.html").read_bytes()


@pytest.mark.asyncio
async def test_what_the_document_names_is_there_and_may_be_kept() -> None:
    async with site(STATIC) as client:
        for file in (STATIC / "assets").iterdir():
            answer = await client.get(f"/assets/{file.name}")
            assert answer.status_code == 200
            assert answer.content == file.read_bytes()
            assert "immutable" in answer.headers["cache-control"]
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await client.get("/assets/nothing.js")).status_code == 404


@pytest.mark.asyncio
async def test_the_browser_is_told_to_load_nothing_from_elsewhere() -> None:
    async with site(STATIC) as client:
        policy = (await client.get("/")).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe-eval" not in policy


@pytest.mark.rule("US-07", "US-19")
def test_every_refusal_of_the_order_check_has_words() -> None:
    words = (ROOT / "frontend/src/lib/words.ts").read_text(encoding="utf-8")
    known = set(re.findall(r"^  (\w+):", words.partition("REFUSALS")[2].partition("\n}")[0], re.MULTILINE))
    check = "".join(Path(str(part.__file__)).read_text(encoding="utf-8") for part in (orders, limits))
    codes = set(re.findall(r'return "(\w+)", f?"', check))
    assert {"margin", "debit_overdue", "price_collar"} <= codes
    assert codes <= known


def test_no_built_file_names_an_address_to_load_from() -> None:
    """Links that a reader may follow and names of XML vocabularies are none."""
    for file in STATIC.rglob("*"):
        if file.suffix in (".html", ".css"):
            assert "//" not in file.read_text(encoding="utf-8").replace("http://www.w3.org/", ""), file.name


@pytest.mark.asyncio
async def test_without_built_pages_the_service_says_how_to_build_them(tmp_path: Path) -> None:
    async with site(tmp_path) as client:
        answer = await client.get("/desk")
    assert answer.status_code == 503
    assert "tasks.py setup" in answer.text


def test_a_wheel_has_the_pages(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    pages = {
        f"closeout/web/static/{path.relative_to(STATIC).as_posix()}" for path in STATIC.rglob("*") if path.is_file()
    }
    assert pages
    assert pages <= names


def test_the_lock_of_the_pages_names_no_address() -> None:
    lock = json.loads((ROOT / "frontend" / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert [name for name, package in packages.items() if not package.get("integrity")] == []
    assert "omit-lockfile-registry-resolved=true" in (ROOT / "frontend" / ".npmrc").read_text(encoding="utf-8")


@pytest.mark.rule("US-19", "EX-05")
def test_where_liability_is_limited_the_pages_speak_of_no_debt() -> None:
    """The words of the stress strip and of what a move could do, where no customer owes a deficit."""
    source = (ROOT / "frontend" / "src" / "lib" / "liability.ts").read_text(encoding="utf-8")
    limited = source.partition("  limited: {")[2].partition("  },\n")[0]
    words = re.findall(r"'([^']*)'", limited)
    assert len(words) == 8
    assert not [text for text in words if re.search(r"\b(owe|owed|owes|debts?)\b", text, re.IGNORECASE)]
    assert "not borne by the customer" in limited
