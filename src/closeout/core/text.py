"""Text that came from outside, on its way to a screen, a page or a letter."""

from __future__ import annotations


def clean(text: str) -> str:
    """Control and direction characters become a replacement sign: nothing hides or turns what stands beside it."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
