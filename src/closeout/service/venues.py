"""The venue of the configuration: made, alarming into the journal, and answered when it asks about our accounts."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from decimal import Decimal

from closeout.adapters.venues.fix_reports import ReportedAccount, ReportedPosition
from closeout.adapters.venues.paper import PaperVenue
from closeout.adapters.venues.port import Venue
from closeout.core.times import time_text
from closeout.core.units import InputError
from closeout.engine.commands import RaiseAlarm
from closeout.engine.state import State
from closeout.rulebooks.policy import Policy
from closeout.service.config import Config
from closeout.service.writer import Busy, Writer


class Alarms:
    """What a venue calls with a code and words; `run` brings it into the journal, in order."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[RaiseAlarm] = asyncio.Queue()

    def __call__(self, code: str, detail: str) -> None:
        self._waiting.put_nowait(RaiseAlarm("", code, detail[:500]))

    async def run(self, writer: Writer) -> None:
        """For ever; a full queue is waited for."""
        while True:
            alarm = await self._waiting.get()
            while True:
                try:
                    await writer.offer("service", alarm)
                    break
                except Busy:
                    await asyncio.sleep(0.05)


def make_venue(config: Config, policy: Policy, alarm: Alarms, state: Callable[[], State]) -> Venue:
    """The configured venue, not connected yet. `state` is asked when the counterparty asks about an account."""
    table = config.venue
    contracts = {name: rules.contract for name, rules in policy.contracts.items()}
    if table.kind == "simulated":
        return PaperVenue(contracts)
    symbols, user, password = venue_symbols(config), *venue_secrets(config)
    if table.kind == "ccxt":
        from closeout.adapters.venues.ccxt_venue import CcxtVenue

        return CcxtVenue(table.exchange, contracts, symbols, alarm, api_key=user, secret=password, base_url=table.url)
    from closeout.adapters.venues.fix_session import FixConfig
    from closeout.adapters.venues.fix_venue import FixVenue

    return FixVenue(
        FixConfig(table.sender, table.target, table.heartbeat_seconds, username=user, password=password),
        table.host,
        table.port,
        config.path(table.session_file),
        contracts,
        symbols,
        alarm,
        tls=ssl.create_default_context() if table.tls else None,
        reports=(lambda account_id: reported(state(), account_id, table.firm, symbols)) if table.firm else None,
    )


def venue_symbols(config: Config) -> dict[str, str]:
    """The venue's name of each contract that it trades."""
    symbols = {name: given.venue_symbol for name, given in config.contracts.items() if given.venue_symbol}
    if not symbols:
        raise InputError("contracts: expected a venue_symbol for each contract that the venue trades")
    return symbols


def venue_secrets(config: Config) -> tuple[str, str]:
    """API key and secret at an exchange; user and password of a FIX session, which may have none."""
    table, optional = config.venue, config.venue.kind == "fix"
    return (
        config.secret(table.api_key_env, table.api_key_file, "venue.api_key", optional=optional),
        config.secret(table.secret_env, table.secret_file, "venue.secret", optional=optional),
    )


def reported(state: State, account_id: str, firm: str, symbols: Mapping[str, str]) -> ReportedAccount | None:
    """An account as the counterparty is told of it, by the figures that the engine judges by; None for one that is not
    there. The business date is the last trade date, or the date of the last input before there was one."""
    row = state.book.row.get(account_id)
    if row is None:
        return None
    policy, risk = state.policy, state.risk(row)
    places = -policy.currency.places
    positions: list[ReportedPosition] = []
    for holding in state.holdings(row):
        contract, given = holding.contract, state.contracts[holding.contract.name]
        positions.append(
            ReportedPosition(
                symbols.get(contract.name, contract.name),
                Decimal(contract.quantity_text(holding.lots)),
                None if given.mark is None else Decimal(contract.price_text(given.mark)),
                None if given.settlement is None else Decimal(contract.price_text(given.settlement)),
                Decimal(holding.profit).scaleb(places),
            )
        )
    date = state.trade_date or time_text(state.time)[:10]
    return ReportedAccount(
        account_id,
        firm,
        policy.currency.code,
        state.seq,
        date.replace("-", ""),
        Decimal(risk.net_liq).scaleb(places),
        Decimal(risk.requirement).scaleb(places),
        Decimal(int(state.book.cash[row])).scaleb(places),
        tuple(positions),
    )
