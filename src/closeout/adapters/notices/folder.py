"""Mail written into a folder, one file each: what the demo shows, and what a mail system can pick up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile

from closeout.adapters.notices.mail import Mail, Retry, compose


class FolderSender:
    """A `MailSender`. A file is whole or not there. A mail whose id is there already is not written again; `repeated`
    counts those."""

    def __init__(self, folder: Path, sender: str, now: Callable[[], int]) -> None:
        self._folder, self._sender, self._now = folder, sender, now
        self.repeated = 0

    def path(self, message_id: str) -> Path:
        """Where the mail with this id is, or would be."""
        return self._folder / f"{message_id.strip('<>').rpartition('@')[0]}.eml"

    async def send(self, mail: Mail) -> None:
        """Write one mail. Raises `Retry` where the disk does not take it, `Refused` as `compose` does."""
        message = compose(mail, self._sender, self._now())
        try:
            written = await asyncio.to_thread(self._write, self.path(mail.message_id), message)
        except OSError as error:
            raise Retry(f"the mail could not be written: {error}") from error
        self.repeated += not written

    def _write(self, path: Path, message: bytes) -> bool:
        """Whether the file is new."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=self._folder, suffix=".part") as part:
            part.write(message)
            part.flush()
            os.fsync(part.fileno())
            try:
                os.link(part.name, path)  # unlike a rename it fails if the file is there
            except FileExistsError:
                return False
        return True
