"""The customer's own brakes: their lines, what a tripped one does, and until when (US-23)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine.bench import Desk, flat_margin, of

from closeout.core.margin import Level
from closeout.core.units import MAX_VALUE
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.book import SUSPENSE, Flag
from closeout.engine.candidates import candidates
from closeout.engine.series import pack

BOOK: dict[str, Any] = {
    "contracts": {
        "CAR": flat_margin("50", "300", session="cme_equity"),
        "BUS": flat_margin("50", "300", session="cme_equity"),
    }
}


def desk_with(cash: str = "1000", quantity: str = "2", **brakes: str) -> Desk:
    """An account with contracts bought at 1,000, one dollar a point each, and brakes in dollars."""
    desk = Desk("kraken-us", BOOK)
    desk.session("cme_equity")
    desk.marks(CAR="1000")
    desk.account("A", cash)
    if quantity != "0":
        desk.hold("A", "CAR", quantity, "1000")
    if brakes:
        desk.done(brake(desk, **brakes))
    return desk


def brake(desk: Desk, flatten_at: str = "", **dollars: str) -> c.SetRiskSettings:
    losses = {name: desk.micros(amount) for name, amount in dollars.items()}
    return c.SetRiskSettings("A", c.RiskSettings(**losses, flatten_at=flatten_at))


def stopped(desk: Desk) -> bool:
    return desk.has("A", Flag.STOPPED)


# -- lines ---------------------------------------------------------------------------------------------


@pytest.mark.rule("US-23", "G-04")
@pytest.mark.parametrize("name", ["daily_loss", "weekly_loss", "trailing_drawdown"])
def test_a_brake_trips_below_its_line_and_not_at_it(name: str) -> None:
    desk = desk_with(**{name: "100"})
    assert desk.marks(CAR="950") == []
    assert not stopped(desk)
    events = desk.marks(CAR="949.99")
    reason = {"daily_loss": "daily loss limit", "weekly_loss": "weekly loss limit"}.get(name, "trailing drawdown")
    assert [type(event) for event in events[:3]] == [ev.FlagChanged, ev.Notice, ev.LevelChanged]
    assert events[0] == ev.FlagChanged("A", "stopped", True, reason)
    assert events[1] == ev.Notice("A", "stopped", reason)
    assert desk.outstanding("A") == [("CAR", "-2")]
    assert desk.level("A") is Level.LIQUIDATING


@pytest.mark.rule("US-23")
def test_the_trailing_drawdown_counts_from_the_highest_net_liq_and_the_loss_limits_do_not() -> None:
    desk = desk_with(daily_loss="150", weekly_loss="150", trailing_drawdown="100")
    assert desk.marks(CAR="1100") == []  # a peak of 1,200
    assert desk.marks(CAR="1050") == []
    assert of(desk.marks(CAR="1049.99"), ev.Notice)[0].detail == "trailing drawdown"


MOVES: dict[str, Any] = {
    "deposit": lambda desk: desk.deposit("A", "500"),
    "withdrawal": lambda desk: desk.done(desk.withdraw("A", "300")),
    "correction": lambda desk: desk.done(c.AdjustCash("A", desk.micros("-200"), "ann", "bob", "x")),
    "refund": lambda desk: desk.done(c.AdjustCash("A", desk.micros("200"), "ann", "bob", "x")),
}


@pytest.mark.rule("US-23")
@pytest.mark.parametrize("brakes", ["daily_loss", "weekly_loss", "trailing_drawdown"])
@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES.keys())
def test_money_in_and_out_is_no_profit_and_no_loss(move: Any, brakes: str) -> None:
    desk = desk_with("1000", "1", **{brakes: "100"})
    move(desk)
    desk.marks(CAR="900")
    assert not stopped(desk)
    desk.marks(CAR="899.99")
    assert stopped(desk)


@pytest.mark.rule("US-23")
def test_isolated_margin_that_comes_home_or_is_asked_for_is_no_profit_and_no_loss() -> None:
    desk = desk_with("1000", "0", daily_loss="100", weekly_loss="100", trailing_drawdown="100")
    desk.account("A/CAR", parent="A")
    for margin, price, cash in (("600", "1400", "2000.00"), ("100", "400", "1500.00")):
        desk.done(c.TransferPosition("A/CAR", "CAR", 1, desk.facts("CAR").value(100_000, 1), last=False))
        desk.deposit("A/CAR", margin)
        desk.fill("A/CAR", "CAR", "-1", price)
        assert (desk.cash("A"), desk.cash("A/CAR"), stopped(desk)) == (cash, "0.00", False)
    desk.done(c.TransferPosition("A/CAR", "CAR", 1, desk.facts("CAR").value(100_000, 1), last=False))
    desk.deposit("A/CAR", "100")
    desk.fill("A/CAR", "CAR", "-1", "-800")  # 1,700 short: 1,500 from the parent's cash, 200 owed
    assert (desk.cash("A"), desk.owed("A"), stopped(desk)) == ("0.00", "200.00", False)
    desk.deposit("A", "1200")
    desk.hold("A", "CAR", "1", "1000")
    desk.marks(CAR="900")
    assert not stopped(desk)
    desk.marks(CAR="899.99")
    assert stopped(desk)


@pytest.mark.rule("US-23", "G-18")
def test_an_account_without_a_mark_is_not_stopped_and_its_guessed_worth_is_no_peak() -> None:
    desk = desk_with("10000", "1", daily_loss="100", trailing_drawdown="100")
    desk.hold("A", "BUS", "-3", "1000")
    desk.marks(CAR="800")
    assert not stopped(desk)
    events = desk.marks(BUS="999")
    assert of(events, ev.Notice) == [ev.Notice("A", "stopped", "daily loss limit")]


# -- what a brake does ---------------------------------------------------------------------------------


@pytest.mark.rule("US-23", "US-10", "US-12", "G-11")
def test_it_closes_all_without_fee_count_or_restriction_and_leaves_a_receipt() -> None:
    desk = desk_with(daily_loss="100")
    order = desk.approved("A", "CAR", "1")
    events = desk.marks(CAR="940")
    assert of(events, ev.CancelOrders) == [ev.CancelOrders("A", (order,), "stopped")]
    desk.marks(CAR="1000")  # what is out is not recalled
    events = desk.close_at("A", "930")
    (ended,) = of(events, ev.CloseOutEnded)
    receipt = ended.receipt
    assert receipt["kind"] == "own_brake"
    assert receipt["trigger"]["cause"] == "the customer's own daily loss limit"
    assert (receipt["liquidation_fee"], receipt["end"]["how"]) == ("0.00", "flat")
    assert "no liquidation" in receipt["words"]
    assert (desk.cash("A"), desk.balance("fees")) == ("860.00", "0.00")
    row = desk.state.row("A")
    assert int(desk.state.book.liquidations[row]) == 0
    assert not desk.has("A", Flag.RESTRICTED)
    assert desk.level("A") is Level.NORMAL
    assert stopped(desk)


@pytest.mark.rule("US-23")
def test_a_part_filled_brake_goes_on_until_flat_though_the_account_has_long_recovered() -> None:
    desk = desk_with("1000", "4", daily_loss="100")
    desk.marks(CAR="970")
    (order,) = desk.close_out("A").outstanding  # type: ignore[union-attr]
    desk.marks(CAR="1200")
    desk.fill_order(order, "1200", "1")
    events = desk.done(c.OrderDone(order, "cancelled"))
    assert [sent.lots for sent in of(events, ev.CloseOutOrder)] == [-3]
    desk.close_at("A", "1200")
    assert desk.position("A", "CAR") == "0"


@pytest.mark.rule("US-23", "US-07")
def test_while_stopped_only_what_reduces_passes_and_no_brake_is_loosened() -> None:
    desk = desk_with("1000", "2", daily_loss="100", trailing_drawdown="500", flatten_at="15:00")
    desk.desk("A", "hold")
    desk.marks(CAR="940")
    assert desk.refusal("A", "CAR", "1") == "stopped"
    assert desk.approved("A", "CAR", "-1")
    for loose in (
        {"daily_loss": "101"},
        {"daily_loss": "0"},
        {"trailing_drawdown": "0"},
        {"trailing_drawdown": "500.01"},
        {"flatten_at": "15:01"},
        {"flatten_at": ""},
    ):
        settings = {"daily_loss": "100", "trailing_drawdown": "500", "flatten_at": "15:00", **loose}
        assert desk.refused(brake(desk, **settings)) == "stopped"
    desk.done(brake(desk, daily_loss="99", weekly_loss="50", trailing_drawdown="500", flatten_at="15:00"))
    desk.done(c.TradeDate("2026-06-11"))
    desk.done(brake(desk))
    assert desk.approved("A", "CAR", "1")


@pytest.mark.rule("US-23")
def test_a_flat_account_is_stopped_and_told_and_nothing_else() -> None:
    desk = desk_with("1000", "2", daily_loss="100")
    events = desk.fill("A", "CAR", "-2", "900")
    assert of(events, ev.Notice) == [ev.Notice("A", "stopped", "daily loss limit")]
    assert of(events, ev.CloseOutOrder) == []
    assert desk.level("A") is Level.NORMAL


@pytest.mark.rule("US-23", "US-10")
def test_below_the_margin_line_as_well_it_is_a_liquidation() -> None:
    desk = desk_with("300", "4", daily_loss="100")
    events = desk.marks(CAR="960")  # 140 left for 200 / 1.2
    assert stopped(desk)
    assert [order.lots for order in of(events, ev.CloseOutOrder)] == [-2]  # 140 - 25 at 90 % carries two
    (ended,) = of(desk.close_at("A", "960"), ev.CloseOutEnded)
    assert "kind" not in ended.receipt
    assert ended.receipt["liquidation_fee"] == "25.00"
    assert (desk.position("A", "CAR"), desk.close_out("A")) == ("2", None)
    assert desk.refusal("A", "CAR", "1") == "stopped"


@pytest.mark.rule("US-23")
def test_a_line_crossed_in_a_liquidation_stops_when_that_ends() -> None:
    desk = desk_with("300", "4", daily_loss="170")
    desk.marks(CAR="960")
    assert not stopped(desk)
    events = desk.close_at("A", "955")
    assert [ended.receipt.get("kind") for ended in of(events, ev.CloseOutEnded)] == [None, "own_brake"]
    assert stopped(desk)
    assert desk.position("A", "CAR") == "0"


@pytest.mark.rule("US-23", "US-20")
@pytest.mark.parametrize("firm", [False, True])
def test_the_desks_hold_keeps_the_close_out_back_until_it_is_released(firm: bool) -> None:
    desk = desk_with(daily_loss="100")

    def hold(action: str) -> list[ev.AnyEvent]:
        return desk.done(c.DeskSwitch("", action, "ann", "x")) if firm else desk.desk("A", action)

    hold("hold")
    events = desk.marks(CAR="940")
    assert stopped(desk)
    assert of(events, ev.CloseOutOrder) == []
    assert desk.level("A") is Level.NORMAL
    desk.marks(CAR="1000")
    events = hold("release_hold")
    assert [order.lots for order in of(events, ev.CloseOutOrder)] == [-2]


@pytest.mark.rule("US-23", "US-20")
def test_a_close_out_that_was_kept_back_is_not_made_up_for_on_the_next_trade_date() -> None:
    desk = desk_with(daily_loss="100")
    desk.desk("A", "hold")
    desk.marks(CAR="940")
    desk.done(c.TradeDate("2026-06-11"))
    assert of(desk.desk("A", "release_hold"), ev.CloseOutOrder) == []


@pytest.mark.rule("US-23", "US-21")
def test_while_the_market_is_closed_it_waits() -> None:
    desk = desk_with(daily_loss="100")
    desk.session("cme_equity", is_open=False)
    events = desk.marks(CAR="940")
    assert [queued.reason for queued in of(events, ev.CloseOutQueued)] == ["market closed"]
    events = desk.session("cme_equity")
    assert [order.lots for order in of(events, ev.CloseOutOrder)] == [-2]


# -- flatten time --------------------------------------------------------------------------------------


@pytest.mark.rule("US-23")
def test_the_flatten_time_closes_and_stops() -> None:
    desk = desk_with()
    events = desk.done(c.Flatten("A", "flatten time 15:00"))
    assert of(events, ev.Notice) == [ev.Notice("A", "stopped", "flatten time 15:00")]
    assert desk.level("A") is Level.LIQUIDATING
    (ended,) = of(desk.close_at("A", "1000"), ev.CloseOutEnded)
    assert ended.receipt["trigger"]["cause"] == "the customer's own flatten time 15:00"
    assert desk.cash("A") == "1000.00"
    events = desk.done(c.Flatten("A", "flatten time 15:00"))
    assert [type(event) for event in events] == [ev.Notice]
    assert desk.refused(c.Flatten("nobody", "x")) == "unknown_account"


@pytest.mark.rule("US-23")
def test_a_flatten_time_in_a_liquidation_closes_what_that_leaves() -> None:
    desk = desk_with("300", "4")
    desk.marks(CAR="960")
    desk.done(c.Flatten("A", "flatten time"))
    assert desk.outstanding("A") == [("CAR", "-2")]
    events = desk.close_at("A", "960")
    assert [ended.receipt["liquidation_fee"] for ended in of(events, ev.CloseOutEnded)] == ["25.00", "0.00"]
    assert desk.position("A", "CAR") == "0"


# -- days ----------------------------------------------------------------------------------------------


@pytest.mark.rule("US-23")
def test_a_new_trade_date_counts_the_day_anew_and_lets_trade_again() -> None:
    desk = desk_with("1000", "2", daily_loss="100", weekly_loss="250")
    desk.account("B", "10")
    desk.done(c.TradeDate("2026-06-10"))  # a Wednesday
    desk.done(c.Flatten("B", "flatten time"))
    desk.marks(CAR="940")
    desk.close_at("A", "940")
    events = desk.done(c.TradeDate("2026-06-11"))
    assert events == [ev.FlagChanged(name, "stopped", False, "trade date 2026-06-11") for name in ("A", "B")]
    desk.trade("A", "CAR", "2", "940")
    desk.marks(CAR="890")
    assert not stopped(desk)
    desk.done(c.TradeDate("2026-06-12"))
    events = desk.marks(CAR="874.99")  # 250.02 since Wednesday
    assert of(events, ev.Notice) == [ev.Notice("A", "stopped", "weekly loss limit")]
    desk.close_at("A", "874.99")
    events = desk.done(c.TradeDate("2026-06-13"))  # a Saturday: the week's loss stands
    assert [(flag.on, flag.reason) for flag in of(events, ev.FlagChanged)] == [
        (False, "trade date 2026-06-13"),
        (True, "weekly loss limit"),
    ]
    desk.done(c.TradeDate("2026-06-15"))
    assert not stopped(desk)


@pytest.mark.rule("US-23", "G-09")
def test_trade_dates_go_on() -> None:
    desk = desk_with()
    desk.done(c.TradeDate("2026-06-10"))
    assert desk.refused(c.TradeDate("2026-06-10")) == "date_ran_back"
    assert desk.refused(c.TradeDate("2026-06-09")) == "date_ran_back"
    for bad in ("20260611", "2026-06-31", "tomorrow", "2026-W24-4", ""):
        assert desk.refused(c.TradeDate(bad)) == "bad_time"


# -- setting -------------------------------------------------------------------------------------------


@pytest.mark.rule("US-23")
def test_setting_again_keeps_the_days_base_and_a_new_drawdown_starts_from_here() -> None:
    desk = desk_with(daily_loss="100")
    desk.marks(CAR="960")
    (told,) = desk.done(brake(desk, daily_loss="200", trailing_drawdown="50", flatten_at="14:30"))
    detail = "daily loss limit 200.00, trailing drawdown 50.00, flatten at 14:30"
    assert told == ev.SettingChanged("A", "risk_settings", detail, "customer")
    desk.marks(CAR="935")
    assert not stopped(desk)
    (told, *_) = desk.done(brake(desk))
    assert told == ev.SettingChanged("A", "risk_settings", "none", "customer")
    events = desk.done(brake(desk, daily_loss="129.99"))
    assert of(events, ev.Notice)[0] == ev.Notice("A", "stopped", "daily loss limit")


@pytest.mark.rule("US-23", "G-01", "G-09")
def test_settings_that_cannot_be() -> None:
    desk = desk_with()
    desk.account("A/CAR", parent="A")
    nothing = c.RiskSettings()
    assert desk.refused(c.SetRiskSettings("nobody", nothing)) == "unknown_account"
    assert desk.refused(c.SetRiskSettings("A/CAR", nothing)) == "isolated_account"
    assert desk.refused(c.Flatten("A/CAR", "x")) == "isolated_account"
    for loss in (-1, MAX_VALUE + 1):
        assert desk.refused(c.SetRiskSettings("A", c.RiskSettings(weekly_loss=loss))) == "out_of_bounds"
    for time in ("24:00", "9:30", "09:60", "09:30:00", "0930", "\u0661\u0662:00"):
        assert desk.refused(c.SetRiskSettings("A", c.RiskSettings(flatten_at=time))) == "bad_time"
    desk.done(c.SetRiskSettings("A", c.RiskSettings(MAX_VALUE, MAX_VALUE, MAX_VALUE, "00:00")))


# -- the scan ------------------------------------------------------------------------------------------

prices = st.integers(85_000, 115_000)
happening = st.one_of(
    st.tuples(st.just("mark"), prices, prices),
    st.tuples(st.just("money"), st.integers(0, 3), st.integers(-(10**8), 10**8).filter(bool)),
    st.tuples(st.just("date"), st.just(0), st.just(0)),
)
braked = st.tuples(st.integers(-3, 3), st.integers(-3, 3), *(st.sampled_from([0, 20 * 10**6, 10**8]),) * 3)


@pytest.mark.rule("US-23", "G-12", "G-19")
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(braked, min_size=1, max_size=4), st.lists(happening, max_size=10))
def test_the_scan_stops_exactly_those_whose_line_is_crossed(
    accounts: list[tuple[int, ...]], happenings: list[tuple[str, int, int]]
) -> None:
    """Against a plain account of each: what was paid in since, the base of the day and the week, the highest."""
    desk = Desk("kraken-us", BOOK)
    desk.session("cme_equity")
    desk.marks(CAR="1000", BUS="1000")
    desk.done(c.DeskSwitch("", "hold", "ann", "only the stop is looked at"))
    models: list[dict[str, int]] = []
    for number, (cars, buses, *losses) in enumerate(accounts):
        desk.account(f"a{number}", "5000")
        for name, lots in (("CAR", cars), ("BUS", buses)):
            if lots:
                desk.hold(f"a{number}", name, str(lots), "1000")
        daily, weekly, trailing = losses
        desk.done(c.SetRiskSettings(f"a{number}", c.RiskSettings(daily, weekly, trailing)))
        models.append({"day": 5 * 10**9, "week": 5 * 10**9, "peak": 5 * 10**9, "stopped": 0})
    day = 1
    for kind, one, other in happenings:
        target = f"a{one % len(accounts)}"
        if kind == "mark":
            desk.give(c.Marks((c.Mark("CAR", one), c.Mark("BUS", other))))
        elif kind == "money":
            desk.done(c.Deposit(target, other) if other > 0 else c.AdjustCash(target, other, "ann", "bob", "x"))
            for base in ("day", "week", "peak"):
                models[one % len(accounts)][base] += other
        else:
            day += 3
            desk.done(c.TradeDate(f"2026-06-{day:02}"))
        for number, (_, _, daily, weekly, trailing) in enumerate(accounts):
            model, row = models[number], desk.state.row(f"a{number}")
            net_liq = desk.state.risk(row).net_liq
            if kind == "date":
                model["day"], model["stopped"] = net_liq, 0
                monday_before, monday = (day - 3 - 1) // 7, (day - 1) // 7  # 1 June 2026 is a Monday
                if day == 4 or monday_before != monday:
                    model["week"] = net_liq
            model["peak"] = max(model["peak"], net_liq)
            lines = ((daily, "day"), (weekly, "week"), (trailing, "peak"))
            model["stopped"] |= any(loss and net_liq < model[base] - loss for loss, base in lines)
            assert desk.has(f"a{number}", Flag.STOPPED) == bool(model["stopped"])
            assert int(desk.state.book.brakes.peak[desk.state.book.brakes.slot[row]]) == model["peak"]
        assert set(candidates(desk.state).tolist()) <= {desk.state.book.row[SUSPENSE]}


@pytest.mark.rule("G-03", "G-19")
def test_the_order_in_which_brakes_were_set_leaves_no_trace() -> None:
    pictures: list[bytes] = []
    for order in ("abc", "cab"):
        desk = desk_with()
        for name in "abc":
            desk.account(name, "100", owner="o")
        for name in order:
            desk.done(c.SetRiskSettings(name, c.RiskSettings(ord(name), 0, 1, "10:00")))
        for name in order:
            desk.done(c.SetLimits("account", name, c.Limits({"CAR": 1, "BUS": ord(name)}), "ann", "x"))
            desk.done(c.AcknowledgeDisclosure(name, ""))
        pictures.append(desk.engine.snapshot())
    assert pictures[0] == pictures[1]


@pytest.mark.rule("US-23", "G-18", "G-19")
def test_a_series_raises_peaks_after_every_batch_where_all_that_is_held_has_a_mark() -> None:
    desk = desk_with(trailing_drawdown="100")
    desk.account("B", "1000")
    desk.hold("B", "CAR", "2", "1000")
    desk.done(c.TransferPosition("B", "BUS", 1, 0))  # at no cost: the bounded worst of it is nothing
    desk.done(c.SetRiskSettings("B", c.RiskSettings(trailing_drawdown=desk.micros("100"))))
    table = desk.state.book.brakes
    before = table.peak[table.slot[desk.state.row("B")]]
    batches = [(desk.time, [c.Mark("CAR", desk.ticks("CAR", price))]) for price in ("1001", "1010", "1005", "990")]
    assert [event for event in desk.done(pack(batches)) if event.account_id] == []
    assert table.peak[table.slot[desk.state.row("A")]] == desk.micros("1020")
    assert table.peak[table.slot[desk.state.row("B")]] == before
    batches = [(desk.time, [c.Mark("CAR", desk.ticks("CAR", price))]) for price in ("980", "960", "959.99")]
    events = desk.done(pack(batches))
    assert [event.number for event in of(events, ev.SeriesBatch)] == [3]
    assert stopped(desk)
    assert not desk.has("B", Flag.STOPPED)
