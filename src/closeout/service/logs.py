"""The service's log: one JSON object a line on standard error, or coloured lines where that is a terminal.

Other packages' loggers end in the same lines. What must not be read is blotted out by the name of its key, and wherever
a key to the API or a password in an address stands in a text. Nothing is logged per account or per tick: that is what
events and metrics are for.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

HIDDEN = "[hidden]"

_SECRET_NAME = re.compile(
    r"^(key|dsn)$|(^|[_-])(passwords?|passwd|secrets?|tokens?|authorization|cookies?|credentials?|(api|private)[_-]?key)"
    r"([_-]hash)?$",
    re.IGNORECASE,
)
_API_KEY = re.compile(r"\bco_([a-z0-9-]+)_[0-9A-Fa-f]{8,}")
_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/@:]*):[^\s/@]+@")
_LOUD = ("alembic", "ccxt", "httpcore", "httpx", "uvicorn")
"""Packages whose INFO says how they work inside, in some with each request and its secrets."""


def logger(name: str) -> FilteringBoundLogger:
    """A logger: ``log.info("event", field=value)``."""
    return structlog.get_logger(where=name)


def configure(level: str = "info", json: bool | None = None) -> None:
    """Log to standard error from `level` (debug, info, warning, error) on; as JSON unless it is a terminal, or as
    `json` says."""
    as_json = not sys.stderr.isatty() if json is None else json
    lowest = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,  # without local variables, which hold secrets
        hide_secrets,
    ]
    last: Processor = _as_json if as_json else _for_a_terminal()
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Lenient(sys.stderr))),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_where, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(lowest)
    for name in _LOUD:
        logging.getLogger(name).setLevel(max(lowest, logging.WARNING))


class _Lenient:
    """A file that may be full, or closed at its other end: a service does not stop for a line of its log."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._file.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._file.flush()


def _where(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The name of another package's logger."""
    event["where"] = event["_record"].name
    return event


def hide_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Blot out the values of keys with a secret's name, at any depth, and secrets inside texts."""
    return cast(EventDict, _hidden(event))


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        return _ADDRESS.sub(rf"\1:{HIDDEN}@", _API_KEY.sub(rf"co_\1_{HIDDEN}", value))
    if isinstance(value, Mapping):
        items = cast(Mapping[Any, Any], value).items()
        return {name: HIDDEN if _SECRET_NAME.search(str(name)) else _hidden(held) for name, held in items}
    if isinstance(value, list | tuple):
        return [_hidden(held) for held in cast(Sequence[Any], value)]
    if value is None or isinstance(value, bool | int | float | logging.LogRecord):
        return value
    return _hidden(str(value))


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    first = {name: event.pop(name) for name in ("time", "level", "event") if name in event}
    return msgspec.json.encode({**first, **event}, enc_hook=str).decode()


def _for_a_terminal() -> Processor:
    plain = structlog.dev.plain_traceback
    return structlog.dev.ConsoleRenderer(timestamp_key="time", exception_formatter=plain)
