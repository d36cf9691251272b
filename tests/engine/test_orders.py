"""Orders before they go out: what must fit, what always passes, and each refusal's code (US-06, US-07, US-08)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.engine.bench import Desk, flat_margin, of

from closeout.core.margin import Level
from closeout.engine import commands as c
from closeout.engine import events as ev
from closeout.engine.book import Flag
from closeout.engine.orders import verdict

BOOK: dict[str, Any] = {"contracts": {"CAR": flat_margin("50", "300", session="cme_equity")}}


def desk_with(cash: str, contracts: str = "0", overrides: dict[str, Any] | None = None) -> Desk:
    desk = Desk("kraken-us", overrides or BOOK)
    desk.session("cme_equity")
    desk.session("bitnomial")
    desk.marks(CAR="1000", MES="5000")
    desk.account("A", cash)
    if contracts != "0":
        desk.hold("A", "CAR", contracts, "1000")
    return desk


@pytest.mark.rule("US-06")
def test_the_toggle_changes_what_new_orders_must_fit_and_nothing_that_is_held() -> None:
    desk = desk_with("1000", "4")
    desk.done(c.CancelOrder(desk.approved("A", "CAR", "16")))
    before = desk.net_liq("A"), desk.requirement("A"), desk.position("A", "CAR"), desk.level("A")
    events = desk.done(c.SetValidation("A", with_intraday=False))
    assert len(events) == 1
    assert isinstance(events[0], ev.FlagChanged)
    assert (desk.net_liq("A"), desk.requirement("A"), desk.position("A", "CAR"), desk.level("A")) == before
    assert desk.refusal("A", "CAR", "1") == "margin"  # five times 300
    assert desk.approved("A", "CAR", "-4")
    desk.done(c.SetValidation("A", with_intraday=True))
    assert desk.approved("A", "CAR", "16")
    assert desk.done(c.SetValidation("A", with_intraday=True)) == []


@pytest.mark.rule("US-06", "US-02")
def test_the_toggle_holds_from_the_opening_of_the_account_and_adds_nothing_at_the_end_of_day() -> None:
    desk = desk_with("1000")
    desk.account("B", "1000", validate_with_intraday=False)
    assert desk.refusal("B", "CAR", "4") == "margin"
    desk.done(c.CancelOrder(desk.approved("B", "CAR", "3")))
    desk.session("cme_equity", "end_of_day")
    assert desk.refusal("A", "CAR", "4") == "margin"
    assert desk.approved("A", "CAR", "3")
    assert desk.approved("B", "CAR", "3")


@pytest.mark.rule("US-07")
def test_the_published_counts_of_micro_contracts() -> None:
    """500 dollars at 50 a contract: ten; five leave a leeway of 250. 100 dollars: two; 85 still carry one."""
    desk = desk_with("500")
    assert desk.refusal("A", "MES", "11") == "margin"
    desk.done(c.CancelOrder(desk.approved("A", "MES", "10")))
    answer = desk.order("A", "MES", "5")
    assert isinstance(answer, ev.OrderApproved)
    assert desk.money(answer.available - answer.after) == "250.00"
    desk.account("B", "100")
    assert desk.refusal("B", "MES", "3") == "margin"
    desk.done(c.CancelOrder(desk.approved("B", "MES", "2")))
    desk.account("C", "85")
    assert desk.refusal("C", "MES", "2") == "margin"
    assert desk.approved("C", "MES", "1")


@pytest.mark.rule("US-07")
def test_the_answer_shows_before_change_after_and_what_is_available() -> None:
    desk = desk_with("1000", "4")
    answer = desk.order("A", "CAR", "2")
    assert isinstance(answer, ev.OrderApproved)
    numbers = (answer.before, answer.change, answer.after, answer.available)
    assert [desk.money(n) for n in numbers] == ["200.00", "100.00", "300.00", "1000.00"]
    answer = desk.order("A", "CAR", "15")
    assert isinstance(answer, ev.OrderRefused)
    numbers = (answer.before, answer.change, answer.after, answer.available)
    assert [desk.money(n) for n in numbers] == ["300.00", "750.00", "1050.00", "1000.00"]


@pytest.mark.rule("US-07", "G-04")
@pytest.mark.parametrize(("cash", "passes"), [("499.999999", False), ("500", True), ("500.000001", True)])
def test_an_order_that_fits_exactly_passes(cash: str, passes: bool) -> None:
    desk = desk_with(cash)
    assert isinstance(desk.order("A", "CAR", "10"), ev.OrderApproved) == passes


@pytest.mark.rule("US-07")
def test_working_orders_stand_at_their_worst_fills() -> None:
    desk = desk_with("500", "4")
    desk.approved("A", "CAR", "3")
    sell = desk.approved("A", "CAR", "-9")  # long 7 or short 5: the buys are worse
    answer = desk.order("A", "CAR", "-4")  # now short 9 is worse than long 7
    assert isinstance(answer, ev.OrderApproved)
    assert [desk.money(n) for n in (answer.before, answer.change, answer.after)] == ["350.00", "100.00", "450.00"]
    assert desk.refusal("A", "CAR", "-2") == "margin"
    assert desk.refusal("A", "MES", "2") == "margin"
    assert desk.approved("A", "MES", "1")
    assert desk.refusal("A", "CAR", "4") == "margin"  # long 11
    desk.done(c.OrderDone(sell, "cancelled"))
    assert desk.approved("A", "CAR", "2")  # long 9 and one MES fill the 500 dollars


@pytest.mark.rule("US-07")
def test_a_fill_takes_its_lots_off_the_working_order() -> None:
    desk = desk_with("500")
    order = desk.approved("A", "CAR", "10")
    assert desk.refusal("A", "CAR", "1") == "margin"
    desk.fill("A", "CAR", "4", "1000", order)
    assert desk.refusal("A", "CAR", "1") == "margin"
    desk.done(c.CancelOrder(order))
    assert desk.refused(c.CancelOrder(order)) == "unknown_order"
    desk.done(c.CancelOrder(desk.approved("A", "CAR", "6")))
    order = desk.approved("A", "CAR", "6")
    desk.fill("A", "CAR", "6", "1000", order)
    assert desk.refused(c.OrderDone(order, "complete")) == "unknown_order"
    assert desk.position("A", "CAR") == "10"


@pytest.mark.rule("US-07")
def test_orders_that_only_reduce_pass_at_any_net_liq() -> None:
    desk = desk_with("1000", "4")
    desk.session("cme_equity", is_open=False)
    for price in ("900", "760", "500.01", "260", "140"):
        desk.marks(CAR=price)
        desk.done(c.CancelOrder(desk.approved("A", "CAR", "-4")))
        desk.done(c.CancelOrder(desk.approved("A", "CAR", "-1")))
    desk.approved("A", "CAR", "-3")
    desk.approved("A", "CAR", "-1")
    assert desk.refusal("A", "CAR", "-1") == "liquidating"  # together they would cross zero


@pytest.mark.rule("US-07", "US-13", "G-09")
def test_each_refusal_has_its_code() -> None:
    desk = desk_with("1000", "4")
    huge = str(2**40 + 1)
    assert desk.refusal("A", "CAR", "100") == "margin"
    assert desk.refusal("A", "CAR", "0") == "zero_quantity"
    (answer,) = desk.done(c.CheckOrder("nobody", "x", "CAR", 1))
    assert isinstance(answer, ev.OrderRefused)
    assert answer.code == "unknown_account"
    for contract, lots, code in (("XYZ", 1, "unknown_contract"), ("CAR", int(huge), "out_of_bounds")):
        (answer,) = desk.done(c.CheckOrder("A", "x", contract, lots))
        assert isinstance(answer, ev.OrderRefused)
        assert answer.code == code
    working = desk.approved("A", "CAR", "1")
    (answer,) = desk.done(c.CheckOrder("A", working, "CAR", 1))
    assert isinstance(answer, ev.OrderRefused)
    assert answer.code == "duplicate_order"
    assert desk.refusal("A", "ES", "1") == "unpriced"
    desk.desk("A", "lock")
    assert desk.refusal("A", "CAR", "-1") == "locked"
    desk.desk("A", "unlock")
    desk.desk("A", "liquidate_only")
    assert desk.refusal("A", "CAR", "1") == "liquidate_only"
    desk.desk("A", "release_liquidate_only")
    desk.marks(CAR="790")
    assert desk.refusal("A", "CAR", "1") == "liquidating"
    desk.close_at("A", "790")
    desk.done(c.Expire("MES", desk.ticks("MES", "5000")))
    assert desk.refusal("A", "MES", "1") == "expired_contract"


@pytest.mark.rule("US-04", "US-07")
def test_between_100_and_120_percent_intraday_nothing_is_closed_but_only_reducing_orders_pass() -> None:
    desk = desk_with("1000", "4")
    desk.marks(CAR="799.99")
    assert desk.level("A") is Level.LIQUIDATE_ONLY
    assert desk.close_out("A") is None
    assert desk.refusal("A", "CAR", "1") == "liquidate_only"
    assert desk.approved("A", "CAR", "-4")


# -- news ----------------------------------------------------------------------------------------------


@pytest.mark.rule("US-08")
def test_four_times_at_entry_only_binds_new_orders_and_leaves_what_is_held() -> None:
    """Equity 1,000 at 50 a contract: twenty; in a news window of 4 x at most five."""
    desk = desk_with("1000", "20")
    events = desk.news("4", "CAR")
    assert of(events, ev.CloseOutOrder) == []
    assert (desk.level("A"), desk.requirement("A")) == (Level.ALERT, "1000.00")
    assert desk.refusal("A", "CAR", "1") == "margin"
    desk.account("B", "1000")
    assert desk.refusal("B", "CAR", "6") == "margin"
    desk.trade("B", "CAR", "5", "1000")
    desk.news("0", "CAR")
    assert desk.approved("B", "CAR", "15")


@pytest.mark.rule("US-08", "G-13")
def test_four_times_for_all_breaches_what_is_held_at_400_percent() -> None:
    desk = desk_with("1000", "20")
    desk.account("B", "1000")
    desk.hold("B", "CAR", "5", "1000")
    desk.news("4", "CAR", held=True)
    assert desk.requirement("B") == "1000.00"
    assert desk.close_out("B") is None
    assert desk.level("A") is Level.LIQUIDATING
    changes = [change for change in desk.events(ev.LevelChanged) if change.account_id == "A"]
    assert changes[-1].requirement == desk.micros("4000")
    desk.close_at("A", "1000")
    assert desk.position("A", "CAR") == "4"  # 975 less 10 % carries four at 200


@pytest.mark.rule("US-08")
def test_the_requirement_in_news_is_the_larger_of_the_window_and_the_multiple() -> None:
    desk = desk_with("5000", "4")
    desk.news("4", "CAR", held=True)
    assert desk.requirement("A") == "800.00"
    desk.session("cme_equity", "end_of_day")
    assert desk.requirement("A") == "1200.00"
    desk.news("8", "CAR", held=True)
    assert desk.requirement("A") == "1600.00"
    desk.news("0", "CAR")
    assert desk.requirement("A") == "1200.00"
    assert desk.refused(c.NewsWindow(("CAR",), 999_999_999, True, "ann", "x")) == "out_of_bounds"
    assert desk.refused(c.NewsWindow(("CAR", "XYZ"), 4 * 10**9, True, "ann", "x")) == "unknown_contract"


@pytest.mark.rule("US-08", "US-20")
def test_the_desk_raises_a_rate_alone_and_lowers_it_with_a_second_name() -> None:
    desk = desk_with("1000", "4")
    desk.done(desk.set_margin("CAR", intraday_margin="60", initial_margin="300"))
    assert desk.requirement("A") == "240.00"
    lower = {"intraday_margin": "59", "initial_margin": "400"}  # one figure higher, one lower
    assert desk.refused(desk.set_margin("CAR", **lower)) == "needs_second"
    assert desk.refused(desk.set_margin("CAR", "ann", **lower)) == "needs_second"
    desk.done(desk.set_margin("CAR", "bob", **lower))
    assert desk.requirement("A") == "236.00"
    assert desk.refused(c.SetMargin("CAR", b"[]", "ann", "x", "bob")) == "bad_tiers"
    assert desk.refused(c.SetMargin("CAR", b"{", "ann", "x", "bob")) == "bad_tiers"
    assert desk.refused(desk.set_margin("CAR", "bob", intraday_margin="0", initial_margin="0")) == "bad_tiers"
    tiers = desk.set_margin("CAR", intraday_margin="500", initial_margin="500").tiers
    assert desk.refused(c.SetMargin("CAR", tiers, "", "x")) == "needs_name"
    assert desk.refused(c.SetMargin("XYZ", tiers, "ann", "x")) == "unknown_contract"


@pytest.mark.rule("US-08", "G-13")
def test_a_rate_raised_by_the_desk_is_in_the_very_next_verdict() -> None:
    desk = desk_with("1000", "4")
    events = desk.done(desk.set_margin("CAR", intraday_margin="300.01", initial_margin="400"))
    assert desk.level("A") is Level.LIQUIDATING
    assert [order.account_id for order in of(events, ev.CloseOutOrder)] == ["A"]
    assert not desk.has("A", Flag.RESTRICTED)


@pytest.mark.rule("G-07", "G-09")
def test_an_order_that_a_customer_named_like_a_close_outs_is_nobody_elses() -> None:
    desk = desk_with("1000", "4")
    desk.account("B", "100000")
    taken = f"{desk.engine.offered + 2}-A-1"
    desk.done(c.CheckOrder("B", taken, "CAR", 1))
    (order,) = of(desk.marks(CAR="780"), ev.CloseOutOrder)
    assert order.order_id != taken
    desk.done(c.CancelOrder(taken))
    desk.fill_order(order.order_id, "780")
    assert desk.close_out("A") is None


@pytest.mark.rule("US-07")
def test_a_limit_through_the_mark_must_fit_with_what_it_would_lose() -> None:
    """1,000 dollars at 50 a contract: buying at 1,100 with the mark at 1,000 loses 100 a contract at once."""
    desk = desk_with("1000")

    def check(order_id: str, lots: str, limit: str) -> ev.OrderApproved | ev.OrderRefused:
        command = c.CheckOrder("A", order_id, "CAR", desk.lots("CAR", lots), desk.ticks("CAR", limit))
        (event,) = desk.done(command)
        assert isinstance(event, ev.OrderApproved | ev.OrderRefused)
        return event

    refused = check("dear", "7", "1100")
    assert isinstance(refused, ev.OrderRefused)
    assert (refused.code, desk.money(refused.after)) == ("margin", "1050.00")  # 7 x (50 + 100)
    cheap = check("cheap", "20", "900")  # a limit on the good side of the mark loses nothing
    assert isinstance(cheap, ev.OrderApproved)
    desk.done(c.CancelOrder("cheap"))
    sale = check("sale", "-6", "900")
    assert isinstance(sale, ev.OrderApproved)
    assert desk.money(sale.after) == "900.00"
    assert desk.refusal("A", "CAR", "-3") == "margin"


class Sealed(dict[Any, Any]):
    """A mapping that is only read."""

    def __setitem__(self, key: Any, value: Any) -> None:
        raise AssertionError(f"{key} was written")

    def __delitem__(self, key: Any) -> None:
        raise AssertionError(f"{key} was deleted")

    def setdefault(self, key: Any, default: Any = None) -> Any:
        raise AssertionError(f"{key} was written")


@pytest.mark.rule("US-07", "G-03")
def test_asking_what_the_check_would_answer_writes_nothing_not_even_for_a_moment() -> None:
    """A snapshot reads the state in another thread while previews are answered."""
    desk = desk_with("1000", "4")
    state = desk.engine.loaded
    state.book.working, state.order_owner = Sealed(state.book.working), Sealed(state.order_owner)
    before = desk.picture()
    for lots, kind in (("1", ev.OrderApproved), ("500", ev.OrderRefused)):
        answer = verdict(state, c.CheckOrder("A", f"o{lots}", "CAR", desk.lots("CAR", lots)))
        assert type(answer) is kind
    assert state.events == []
    assert desk.picture() == before
