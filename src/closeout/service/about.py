"""What people are told of a service beside its figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class About:
    """`market` says which recording is played, and is None on live prices. `disclosure` is the text of the risk
    disclosure in force, "" where the broker's own pages show it; `how_to_pay` says how what is owed is paid."""

    market: str | None = None
    venue: str = "simulated"
    simulated_venue: bool = True
    disclosure: str = ""
    how_to_pay: str = ""
