"""Where the data end before an order reaches the market: nothing is concluded from what is not recorded (EX-02)."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from tests.studies.waterfalls import VENUE, WINNERS, rulebook

from closeout.adapters.venues.simulated import Depth
from closeout.studies.accounts import AccountFile, AccountPosition
from closeout.studies.market import load_market
from closeout.studies.replay import Settings
from closeout.studies.runner import run_replay

BARS = """time,open,high,low,close
1760130000,100000,100000,100000,100000
1760130060,98900,98900,98900,98900
"""


@pytest.mark.rule("EX-02", "EX-04")
@pytest.mark.parametrize("limited", [True, False])
def test_an_order_that_never_reached_the_market_passes_nothing_on(tmp_path: Path, limited: bool) -> None:
    """The last bar puts a long below its line; its order is two bars on the way. With a limit the account stays in
    close-out and nobody is deleveraged; an order at market ends, as ever."""
    path = tmp_path / "BTCUSDT.csv"
    path.write_text(BARS, encoding="utf-8")
    market = load_market([str(path)])
    price = Decimal(100_000)
    accounts = [
        AccountFile("LONG", Decimal(1200), (AccountPosition("BTCUSDT", Decimal(1), price),)),
        AccountFile("SHORT", Decimal(50_000), (AccountPosition("BTCUSDT", Decimal(-1), price),)),
    ]
    name = rulebook(tmp_path, "own", *([WINNERS, VENUE] if limited else [VENUE]))
    done = run_replay(
        [str(path)], market, accounts, [name], tmp_path / "run", settings=Settings(depth=Depth(latency_ms=120_000))
    )
    run = done.runs[0]
    long, short = run.accounts
    assert (len(run.orders), run.receipts, run.problems) == (1, [], [])
    assert (long.level, short.deleveraged, long.net_liq_after) == ("liquidating", 0, 100_000_000)
    noted = [text for text in run.assumptions if text.startswith("End: 1 orders with a limit")]
    assert len(noted) == limited
