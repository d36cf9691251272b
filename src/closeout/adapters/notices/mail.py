"""One mail, the port that sends it, and its bytes. What the mail says is made in `wording`.

The Message-ID is given and stable: a repeated sending is the same mail, and a reader's program shows it once (G-16).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from typing import Protocol
from urllib.parse import quote

from closeout.core.times import SECOND

ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,8}")
_MESSAGE_ID = re.compile(r"<[A-Za-z0-9%._~-]{1,400}@[A-Za-z0-9.-]{1,200}>")
_POLICY = SMTP.clone(cte_type="7bit")  # any server takes it


@dataclass(frozen=True, slots=True)
class Mail:
    """`to` is one plain address; `text` and `html` say the same."""

    message_id: str
    to: str
    subject: str
    text: str
    html: str


class Retry(Exception):
    """Not sent, or nobody knows; try again later with the same id. The text is for people.

    `maybe_taken`: the other side had the whole message when the connection was lost, so that it may arrive twice; such
    cases are counted (G-16).
    """

    def __init__(self, reason: str, *, maybe_taken: bool = False) -> None:
        super().__init__(reason)
        self.maybe_taken = maybe_taken


class Refused(Exception):
    """The other side will not have this message, now or later. The text is for people."""


class MailSender(Protocol):
    """Raises `Retry` or `Refused`; on return the other side has the mail."""

    async def send(self, mail: Mail) -> None: ...


def message_id(effect_id: str, domain: str) -> str:
    """The Message-ID of an effect: always the same, and no two effects share one."""
    return f"<{quote(effect_id, safe='').replace('.', '%2E')}@{domain}>"


def compose(mail: Mail, sender: str, time: int) -> bytes:
    """The mail as it goes over the wire, dated `time` (UTC nanoseconds). Raises `Refused` for an address or an id that
    is not plain; nothing in the subject can begin another header."""
    for what, address in (("recipient", mail.to), ("sender", sender)):
        if not ADDRESS.fullmatch(address):
            raise Refused(f"the {what} {address!r} is not a plain mail address")
    if not _MESSAGE_ID.fullmatch(mail.message_id):
        raise Refused(f"{mail.message_id!r} is not a Message-ID")
    message = EmailMessage(policy=_POLICY)
    message["From"] = sender
    message["To"] = mail.to
    message["Subject"] = " ".join("".join(sign if sign.isprintable() else " " for sign in mail.subject).split())
    message["Date"] = datetime.fromtimestamp(time // SECOND, UTC)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    # Set by hand, because the library would fold a long id into two lines.
    return f"Message-ID: {mail.message_id}\r\n".encode() + message.as_bytes()
