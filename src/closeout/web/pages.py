"""Serves the built pages. They are static: all that they show comes from the API, with the viewer's own key.

`/` is the Portfolio and `/desk` the Risk desk: the same document, which looks at its address. What it needs lies beside
it, under names with a digest in them. Nothing is loaded from anywhere else, and the browser is told to refuse it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.types import ControllerRouterHandler

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    # The charts set inline styles.
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
NOT_BUILT = b"The pages are not built here: `python3 tasks.py setup` builds them. The API works without them.\n"


def handlers(static: Path = STATIC) -> Sequence[ControllerRouterHandler]:
    """The routes of the pages. What lies in `static` is read once."""
    files = {path.relative_to(static).as_posix(): path.read_bytes() for path in static.rglob("*") if path.is_file()}

    @get(["/", "/desk"], sync_to_thread=False, name="pages")
    def page(request: Request[Any, Any, Any]) -> Response[Any]:
        """The document, never cached: a new version names new files. It names them beside itself: from `/desk/` they
        would be looked for below, so that it is sent to `/desk`."""
        if request.scope["raw_path"].partition(b"?")[0].endswith(b"/desk/"):
            query = request.scope["query_string"].decode("latin-1")
            return Response(b"", status_code=308, headers={"location": "../desk" + (f"?{query}" if query else "")})
        if "index.html" not in files:
            return Response(NOT_BUILT, status_code=503, media_type="text/plain")
        return _file("index.html", files["index.html"], "no-cache")

    def served(name: str, cache: str) -> ControllerRouterHandler:
        @get(f"/{name}", sync_to_thread=False, name=name)
        def one() -> Response[Any]:
            return _file(name, files[name], cache)

        return one

    once = "public, max-age=31536000, immutable"
    others = [name for name in files if name != "index.html"]
    return [page, *(served(name, once if name.startswith("assets/") else "no-cache") for name in others)]


def _file(name: str, body: bytes, cache: str) -> Response[Any]:
    kind = TYPES.get(Path(name).suffix, "application/octet-stream")
    return Response(body, media_type=kind, headers={**HEADERS, "cache-control": cache})
