"""Positions and margin as FIX reports, and the questions that they answer."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
from tests.adapters.venues.acceptor import Acceptor, Server
from tests.adapters.venues.common import BTC, Ears

from closeout.adapters.venues.fix_codec import Message, MissingTag
from closeout.adapters.venues.fix_reports import ReportedAccount, ReportedPosition, answer, collateral_report
from closeout.adapters.venues.fix_session import FixConfig
from closeout.adapters.venues.fix_venue import FixVenue

LONG = ReportedPosition("BTCUSD", Decimal("0.10"), Decimal("64000.50"), Decimal("65000"), Decimal("-12.5"))
SHORT = ReportedPosition("ETHUSD", Decimal("-3"), None, None, Decimal("0"))


def account(net_liq: str, *positions: ReportedPosition) -> ReportedAccount:
    cash = Decimal("1000.000001")
    return ReportedAccount("A1", "CLOSEOUT", "USD", 42, "20251010", Decimal(net_liq), Decimal(500), cash, positions)


def find(account_id: str) -> ReportedAccount | None:
    return {"A1": account("480.25", LONG, SHORT), "A2": account("480.25")}.get(account_id)


def question(kind: str, *fields: tuple[int, str]) -> Message:
    return Message(kind, ((35, kind), (34, "2"), *fields))


@pytest.mark.parametrize(("net_liq", "excess", "status"), [("480.25", "-19.75", "1"), ("500", "0", "3")])
def test_the_margin_excess_is_below_zero_where_margin_is_missing(net_liq: str, excess: str, status: str) -> None:
    kind, fields = collateral_report(account(net_liq))
    assert kind == "BA"
    assert fields[0] == (908, "42-A1")
    shown = dict(fields)
    assert 909 not in shown
    assert [shown[tag] for tag in (899, 910, 901, 15, 1)] == [excess, status, "1000.000001", "USD", "A1"]
    assert Decimal(shown[900]) == Decimal(net_liq)


def test_inquiries_about_collateral() -> None:
    ((kind, fields),) = answer(question("BB", (909, "Q1"), (1, "A1")), find) or []
    assert (kind, dict(fields)[909], dict(fields)[899]) == ("BA", "Q1", "-19.75")
    ((kind, fields),) = answer(question("BB", (1, "A9")), find) or []
    assert (kind, dict(fields)[945], dict(fields)[58]) == ("BG", "4", "unknown account")
    with pytest.raises(MissingTag, match="missing: 1"):
        answer(question("BB", (909, "Q1")), find)
    assert answer(question("AE"), find) is None


def test_requests_for_positions() -> None:
    acknowledged, long, short = answer(question("AN", (710, "R1"), (724, "0"), (1, "A1")), find) or []
    assert acknowledged[0] == "AO"
    assert [dict(acknowledged[1])[tag] for tag in (710, 727, 728, 729)] == ["R1", "2", "0", "0"]
    assert (long[0], short[0]) == ("AP", "AP")
    shown = dict(long[1])
    wanted = {721: "42-A1-BTCUSD", 710: "R1", 715: "20251010", 55: "BTCUSD", 702: "1", 704: "0.1", 708: "-12.5"}
    assert {tag: shown[tag] for tag in wanted} == wanted
    assert (shown[730], shown[734], 705 in shown) == ("64000.5", "65000", False)
    assert (dict(short[1])[705], 730 in dict(short[1]), 734 in dict(short[1])) == ("3", False, False)
    for fields, result in (
        ([(724, "0"), (1, "A2")], ["2", "0"]),
        ([(724, "0"), (1, "A9")], ["99", "2"]),
        ([(724, "1"), (1, "A1")], ["99", "2"]),
    ):
        ((kind, told),) = answer(question("AN", (710, "R1"), *fields), find) or []
        assert (kind, [dict(told)[728], dict(told)[729]]) == ("AO", result)


def test_over_the_session(tmp_path: Path) -> None:
    async def main() -> None:
        async with Server(Acceptor()) as server:
            ears = Ears()
            venue = FixVenue(
                FixConfig("CLOSEOUT", "VENUE"),
                "127.0.0.1",
                server.port,
                tmp_path / "fix.sqlite",
                {"BTC-PERP": BTC},
                {"BTC-PERP": "BTCUSD"},
                ears.alarm,
                reports=find,
            )
            running = asyncio.create_task(venue.run(ears.report))
            await server.until(lambda: server.acceptor.logged_on)
            server.write(server.acceptor.send("BB", [(909, "Q1"), (1, "A1")]))
            server.write(server.acceptor.send("AN", [(710, "R1"), (724, "0"), (1, "A1")]))
            server.write(server.acceptor.send("BB", [(909, "Q2")]))
            await server.until(lambda: len(server.acceptor.handled) == 4)
            assert [m[35] for m in server.acceptor.handled] == ["BA", "AO", "AP", "AP"]
            await server.until(lambda: [m[371] for m in server.acceptor.admin if m[35] == "3"] == ["1"])
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            venue.close()

    asyncio.run(main())
