"""Rows of centralised venues that take more than one document for `quote`, another unit, or an engine.

In thousandths of a coin the figures that a venue states to more than eight places are whole numbers of the smallest
unit; the numbers found are put back into coins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from tests.engine.bench import Desk
from tests.studies.published import LIQUIDATION, Held, document, of, side, text
from tests.vectors import margins
from tests.vectors.asked import THOUSAND, Found, Row, answer

from closeout.core.contracts import Contract, Kind
from closeout.core.funding import FundingTerms
from closeout.core.times import HOUR
from closeout.core.units import CURRENCIES, RATE
from closeout.engine import commands as c
from closeout.engine import fund
from closeout.engine.events import CloseOutEnded, Deleveraged
from closeout.studies.funding_rates import FundingRates, Interval
from closeout.studies.funding_replay import Payments
from closeout.studies.market import Source
from closeout.studies.quote import quote


def price(answered: Row, key: str = LIQUIDATION[-1]) -> Decimal | None:
    shown = answered["positions"][0][key]
    return None if shown is None else Decimal(shown)


# -- margin ------------------------------------------------------------------------------------------------


def deribit(row: Row) -> Found:
    """An inverse future in thousandths of its coin: the slope is that of the coin."""
    size, mark, initial, maintenance, slope = of(row, "size_usd", "mark_price", "im_base", "mm_base", "slope_per_coin")
    held = Held(size, mark / THOUSAND, rate=maintenance, initial_rate=initial, inverse_size=Decimal(1))
    steep = text(slope / THOUSAND)
    found = answer(
        row,
        [held],
        tier={"initial_margin_slope": steep, "maintenance_margin_slope": steep},
        cash=Decimal(10**4),
        tick=Decimal("0.00001"),
    )
    return {
        "size_currency": Decimal(found["positions"][0]["notional"]).copy_sign(size) / THOUSAND,
        "initial_margin": Decimal(found["initial_margin"]) / THOUSAND,
        "maintenance_margin": Decimal(found["maintenance_margin"]) / THOUSAND,
    }


def deribit_linear(row: Row) -> Found:
    base, slope, size, index = of(row, "base", "slope_per_unit", "size", "index")
    held = Held(size, index, rate=base)
    found = answer(row, [held], tier={"maintenance_margin_slope": text(slope)}, tick=Decimal("0.01"), currency="USDC")
    margin = Decimal(found["maintenance_margin"])
    return {"margin_usdc": margin, "rate": Fraction(margin) / Fraction(found["positions"][0]["notional"])}


def ftx_equities(row: Row) -> Found:
    """Equity as the price falls, and the margin fraction below which FTX's rulebook closes everything."""
    collateral, notional, rate = of(row, "collateral", "notional", "mmf")
    answers: list[Row] = []
    for drop in (0, *row["inputs"]["drops"]):
        held = Held(Decimal(1), notional, notional * (1 - Decimal(drop)), rate=rate)
        given = document(row, [held], cash=collateral, tick=Decimal(1), currency="USD") | {"rulebook": "ftx"}
        answers.append(quote(given, row["id"]))
    whole, *fallen = answers
    line = Fraction(whole["lines"]["take_over"]) / Fraction(whole["notional"])
    return {"equities": [Decimal(answered["net_liq"]) for answered in fallen], "acmf": line}


def closing_fee(row: Row) -> Found:
    """What a fill at the bankruptcy price is charged."""
    size, at, fee = of(row, "size", "bankruptcy_price", "taker_fee_rate")
    contract = Contract.define(
        "C",
        kind=Kind.LINEAR,
        currency=CURRENCIES["BTC"],  # of eight places
        tick=Decimal("0.0001"),
        lot=size,
        contract_size=Decimal(1),
        taker_fee=int(fee * RATE),
    )
    micros = contract.trade_fee(contract.nearest_ticks(at), side(row))
    return {"occ_closing_fee": Decimal(contract.currency.text(micros))}


def assigned_remainder(row: Row) -> Found:
    """What the book does not take of a close-out goes to the liquidity providers."""
    sizes = {"PI": ("PI_BTCUSD_size", "liquidated_in_book"), "FI": ("FI_size", "FI_liquidated")}
    contract = {"tick": "0.01", "lot": "1", "tiers": [{"maintenance_margin_rate": "0.01"}]}
    given = {
        "contracts": {name: contract for name in sizes},
        "close_out": {"method": "flatten_all", "limit": "bankruptcy"},
        "waterfall": [{"stage": "liquidity_providers"}, {"stage": "venue_bears"}],
    }
    desk = Desk("reference", given)
    desk.account("A")
    for name, (size, _) in sizes.items():
        desk.hold("A", name, text(row["inputs"][size]), "1")
    desk.deposit("A", "5000")
    desk.marks(PI="1", FI="1")
    active = desk.close_out("A")
    assert active is not None
    for order_id, (name, _) in list(active.outstanding.items()):
        desk.fill_order(order_id, "1", text(row["inputs"][sizes[name][1]]))
    while (active := desk.close_out("A")) and active.outstanding:
        desk.done(c.OrderDone(next(iter(active.outstanding)), "no price within the limit"))
    taken = {name: desk.position("liquidity_providers", name) for name in sizes}
    return {f"{name}_assigned": int(quantity) for name, quantity in taken.items()}


def providers_capacity(row: Row) -> Found:
    """What they take of a position that is larger, the first in their window."""
    equity, percent, factor = of(row, "equity", "group_limit_pct", "notional_capacity_factor")
    assert row["inputs"]["group_used"] == row["inputs"]["current_notional"] == 0
    given = {
        "contracts": {"C": {"tick": "0.01", "lot": "1", "tiers": [{"maintenance_margin_rate": "0.05"}]}},
        "close_out": {"method": "flatten_all", "limit": "bankruptcy"},
        "waterfall": [
            {
                "stage": "liquidity_providers",
                "equity": text(equity),
                "capacity_of_equity": text(factor),
                "share_of_equity": text(percent / 100),
                "within_seconds": 300,
            },
            {"stage": "venue_bears"},
        ],
    }
    desk = Desk("reference", given)
    desk.account("A", "1")
    desk.hold("A", "C", text(equity * 10), "1")
    desk.marks(C="1")
    active = desk.close_out("A")
    assert active is not None
    desk.done(c.OrderDone(next(iter(active.outstanding)), "no price within the limit"))
    return {"capacity": Decimal(desk.position("liquidity_providers", "C"))}


# -- prices ------------------------------------------------------------------------------------------------


def okx_isolated(row: Row) -> Found:
    """The venue prints the price one tick nearer to the entry than where its formula has it. An inverse position is a
    million such, whose margins are whole numbers of the coin's smallest unit, nearly."""
    entry, mark, margin, rate, fee, tick = of(row, "avg_price", "mark_price", "margin", "mmr_rate", "fee_rate", "tick")
    given = {
        "liquidation_price_rounding": "one_tick_towards_entry",
        "liquidation_price_tick": text(tick),
        "taker_fee": text(fee),
        "close_fee_in_requirement": True,
    }
    inverse = "face_usd" in row["inputs"]
    (size,) = of(row, "face_usd" if inverse else "size")
    many = 10**6 if inverse else 1
    quantity = Decimal(side(row)) * (many if inverse else size)
    held = Held(quantity, entry, mark, rate=rate, margin=margin * many, inverse_size=size if inverse else None)
    found = answer(row, [held], given, tick=Decimal("0.00001") if inverse else None)["positions"][0]
    numbers = {
        "liquidation_price": Decimal(found["liquidation_price"]),
        "maintenance_margin": Fraction(found["maintenance_before_fee"]) / many,
        "margin_ratio": Decimal(found["margin_ratio"]),
        "upl": Fraction(found["unrealized_pnl"]) / many,
    }
    return {key: numbers[key] for key in row["expected"]}


def _inverse_tick(size: Decimal) -> Decimal:
    """The finest that the bound on an inverse contract allows."""
    return Decimal("0.00001") if size <= 900 else Decimal("0.0001")


def binance_coinm(row: Row) -> Found:
    size, face, entry, wallet, rate, mark = of(
        row,
        *("position_amount", "contract_size_usd", "entry_price", "isolated_wallet", "maintenance_margin_rate"),
        "mark_price",
    )
    held = Held(
        Decimal(1),
        entry / THOUSAND,
        mark / THOUSAND,
        rate=rate,
        margin=wallet * THOUSAND,
        inverse_size=size * face,
    )
    found = answer(row, [held], tick=Decimal("0.00001"))["positions"][0]
    return {
        "liquidation_price": Decimal(found["liquidation_price"]) * THOUSAND,
        "isolated_margin": Decimal(found["net_liq"]) / THOUSAND,
        "unrealised_pnl": Decimal(found["unrealized_pnl"]) / THOUSAND,
    }


def linear_isolated(row: Row) -> Found:
    names = ("entry", "margin", "size", "mmr", "taker")
    entry, margin, size, rate, fee = of(row, *names)
    held = Held(side(row) * size, entry, rate=rate + fee, margin=margin)
    return {"liquidation_price": price(answer(row, [held]))}


def htx(row: Row) -> Found:
    size, entry, leverage, factor, margin, balance = of(
        row, "size", "cost_hold", "leverage", "adjust_factor", "margin_static", "margin_balance"
    )
    mark = entry + (balance - margin) / size
    held = Held(size, entry, mark, rate=factor / leverage, margin=margin)
    return {"liquidation_price": price(answer(row, [held]))}


def inverse_by_entry(row: Row) -> Found:
    """BitMEX and Bybit's inverse contracts: a requirement on the value at entry. The commission is set aside: neither
    margin nor requirement has it. BitMEX's margins with it are asked for apart."""
    rate, tick = of(row, "maint_margin_rate" if "pos_init" in row["inputs"] else "maintenance_margin_rate", "tick")
    numbers: Found = {}
    if "pos_init" in row["inputs"]:
        contracts, cost, init, cross, loss = of(row, "contracts", "pos_cost_abs", "pos_init", "pos_cross", "pos_loss")
        entry, margin = round(contracts * 10**8 / cost, 15), (init + cross - loss) / 10**8
        (fee,) = of(row, "commission")
        numbers = margins.bitmex_components(row)
    else:
        contracts, entry, margin, fee = of(row, "contracts_usd", "entry_price", "position_margin", "taker_fee_rate")
    held = Held(side(row) * contracts, entry, rate=rate, margin=margin, inverse_size=Decimal(1))
    held = replace(held, mark=round(entry / tick) * tick)
    found = answer(row, [held], {"requirement_base": "entry", "taker_fee": text(fee)}, tick=tick)
    numbers |= {key: price(found, key) for key in ("liquidation_price", "bankruptcy_price")}
    if "occ_closing_fee" in row["expected"]:
        numbers["occ_closing_fee"] = price(found, "fee_at_bankruptcy")
    return numbers


def cross_with_close_fee(row: Row) -> Found:
    """One cross position whose requirement includes the fee of closing: Bybit's that of what is left of the value when
    the whole balance, which is its initial margin, is lost."""
    inputs = row["inputs"]
    if "contracts_usd" in inputs:
        size, entry, cash, rate, fee, tick = of(row, "contracts_usd", "entry", "balance_btc", "mmr", "taker", "tick")
        initial = cash * entry / size
        held = Held(side(row) * size, entry, rate=rate, initial_rate=initial, inverse_size=Decimal(1))
        base = "entry"
        shown = {"liquidation_price_tick": text(tick), "close_fee_on": "bankruptcy"}
        tick = _inverse_tick(Decimal(1)) * 10
    else:
        size, entry, cash, rate, fee = of(row, "size", "entry_price", "balance", "maintenance_rate", "taker_fee_rate")
        held, tick, base, shown = Held(side(row) * size, entry, rate=rate), Decimal("0.01"), "mark", {}
    given = {
        "taker_fee": text(fee),
        "close_fee_in_requirement": True,
        "requirement_base": base,
        "bankruptcy_price_after_fee": True,
        **shown,
    }
    found = answer(row, [held], given, cash=cash, tick=tick)
    return {key: price(found, key) for key in ("liquidation_price", "bankruptcy_price")}


# -- funding, and who gets what a close-out leaves -----------------------------------------------------------


def hyperliquid_funding(row: Row) -> Found:
    """An eighth of an 8-hour rate each hour; the page's own example leaves the eighth out."""
    premium, interest, clamp = of(row, "premium", "interest_8h", "clamp")
    hourly = "hourly_rate" in row["expected"]
    terms = FundingTerms(int(interest * RATE), int(clamp * RATE), 60 if hourly else 480, 480, cap=RATE * 4 // 100)
    return {"hourly_rate" if hourly else "rate": terms.exact_rate(Fraction(premium)) / RATE}


def funding_fee(row: Row) -> Found:
    """What a position accrues at the end of an interval."""
    size, rate, mark = of(row, "size", "funding_rate", "mark_price")
    given = {
        "currency": "USDT",
        "contracts": {"C": {"tick": "0.1", "lot": "1", "tiers": [{"maintenance_margin_rate": "0.1"}]}},
    }
    desk = Desk("reference", given)
    desk.account("A", "1000")
    desk.hold("A", "C", text(side(row) * size), text(mark))
    desk.marks(C=text(mark))
    desk.done(c.AccrueFunding("C", int(rate * RATE)))
    ratio = row["inputs"]["time_in_ratio"]
    return {"funding_fee": Decimal(desk.accrued("A")), "kraken_funding_fee": None if ratio is None else a_step(row)}


def a_step(row: Row) -> Decimal:
    """What a position accrues under Kraken's rulebook in a replay that has come as far into the interval of a recorded
    rate, in one step."""
    size, rate, mark, ratio = of(row, "size", "funding_rate", "mark_price", "time_in_ratio")
    desk = Desk("kraken-linear", {"funding": {"step_seconds": int(ratio * 3600)}})
    desk.account("A", "1000")
    desk.hold("A", "PF_XBTUSD", text(side(row) * size), text(mark))
    desk.marks(PF_XBTUSD=text(mark))
    begin = desk.state.time // HOUR * HOUR
    rates = FundingRates(Source("", "", 1), {"XBT": [Interval(begin, begin + HOUR, int(rate * RATE))]})
    payments = Payments(desk.state.policy, {"XBT": "PF_XBTUSD"}, rates, begin)
    for _, command in payments.due(desk.state, begin + int(ratio * HOUR)):
        desk.done(command)
    return Decimal(desk.accrued("A"))


def tiers_down(row: Row) -> Found:
    """A position of the third tier is brought into the first."""
    size, most = of(row, "position_swaps", "tier1_max_swaps")
    starts = ("0", text(most + 1), text((most + size) // 2))
    given = {
        "contracts": {
            "C": {
                "tick": "0.01",
                "lot": "1",
                "tiers": [
                    {"notional_from": start, "maintenance_margin_rate": f"0.0{number}"}
                    for number, start in enumerate(starts, 1)
                ],
            }
        },
        "close_out": {"method": "lower_tier", "tiers_down": row["inputs"]["tier"] - 1},
    }
    desk = Desk("reference", given)
    desk.account("A", "1")
    desk.hold("A", "C", text(size), "1")
    desk.marks(C="1")
    ((_, quantity),) = desk.outstanding("A")
    return {"close_swaps": -int(Decimal(quantity))}


def surplus_to_the_fund(row: Row) -> Found:
    """Two accounts with the same position, closed on either side of their bankruptcy price: the fund keeps what one
    leaves, and pays what the other lacks."""
    entry, line, bankruptcy, first, second = of(row, "entry", "liq", "bankruptcy", "fill_A", "fill_B")
    contract = {"tick": "0.01", "lot": "1", "tiers": [{"maintenance_margin": text(line - bankruptcy)}]}
    given = {
        "contracts": {"C": contract},
        "insurance_fund": {"initial": text(row["inputs"]["fund_start"])},
        "close_out": {"limit": "bankruptcy", "surplus": "insurance_fund"},
        "waterfall": [
            {"stage": "insurance_fund"},
            {"stage": "customer_owes"},
        ],
    }
    desk = Desk("reference", given)
    for name in ("A", "B"):
        desk.account(name, text(entry - bankruptcy))
        desk.hold(name, "C", text(row["inputs"]["qty"]), text(entry))
    desk.marks(C=text(line - Decimal("0.01")))
    found: Found = {}
    for name, at in (("A", first), ("B", second)):
        desk.close_at(name, text(at))
        found[f"fund_after_{name}"] = Decimal(desk.cash("insurance_fund"))
    return {**found, "adl": any(event.__class__.__name__ == "Deleveraged" for event in desk.log)}


def pool_drawdown(row: Row) -> Found:
    """A symbol's loss as an account's deficit, which the book leaves to the fund and the winners; the fund holds what
    the pool did at the start. The ratio is what the fund would be down by, were it to bear all."""
    start, loss, most, ratio = of(row, "pool_start", "symbol_pnl", "symbol_8h_max_pnl", "insurancePnlRatio")
    stages: list[Row] = [
        {
            "stage": "auto_deleveraging",
            "ranking": "leveraged_return",
            "price": "drawdown",
            "drawdown": text(-ratio),
            "drawdown_hours": 8,
        },
        {"stage": "insurance_fund"},
        {"stage": "venue_bears"},
    ]
    contract = {"tick": "1", "lot": "1", "tiers": [{"maintenance_margin_rate": "0.005", "notional_from": "0"}]}
    desk = Desk(
        "reference",
        {
            "contracts": {"A": contract},
            "close_out": {"method": "flatten_all", "limit": "bankruptcy"},
            "insurance_fund": {"initial": text(start)},
            "waterfall": stages,
        },
    )
    facts = desk.facts("A")
    size, entry, margin = 1_000, 100_000, 100_000
    desk.marks(A=str(entry))
    for name, lots, cash in (("winner", -size, 100 * margin), ("loser", size, margin)):
        desk.account(name)
        desk.done(c.TransferPosition(name, "A", lots, facts.value(entry, lots), last=False))
        desk.deposit(name, str(cash * (1 if name == "winner" else 10)))
    pool = Fraction(fund.peak(desk.state, desk.state.policy.fund_window), 10**6)
    gone = Decimal(10 * margin) - (loss - most)
    desk.marks(A=text(entry - gone / size))
    (order_id,) = desk.state.book.close_outs[desk.state.row("loser")].outstanding
    desk.done(c.OrderDone(order_id, "immediate or cancel"))
    taken = [event for event in desk.log if isinstance(event, Deleveraged)]
    (ended,) = [event for event in desk.log if isinstance(event, CloseOutEnded)]
    return {
        "pnlRatio": -Fraction(ended.receipt["deficit"]) / pool,
        "triggered": bool(taken),
        "adl_loss_shifted": Fraction(sum(event.taken for event in taken), 10**6),
    }


def queue(row: Row) -> Found:
    """A short that the book could not close, and longs who have won five times what they paid, with so much cash that
    return x leverage is the row's score. The lights of a trader's screen are not the engine's."""
    (at, size) = of(row, "bankruptcy_price", "liquidated_qty")
    mark, tier = at + 10, {"maintenance_margin_rate": "0.005"}
    desk = Desk(
        "reference",
        {
            "contracts": {"C": {"tick": "1", "lot": "1", "tiers": [tier]}},
            "close_out": {"method": "flatten_all", "limit": "bankruptcy"},
            "waterfall": [{"stage": "auto_deleveraging", "ranking": "leveraged_return"}, {"stage": "venue_bears"}],
        },
    )
    desk.marks(C=text(at - 50))
    desk.account("short", text(50 * size))
    desk.hold("short", "C", text(-size), text(at - 50))
    for name, one in row["inputs"]["longs"].items():
        bought = Decimal(one["qty"]) * mark / 6
        equity = 6 * bought * 5 / one["rank_score"]
        desk.account(name, text(equity - 5 * bought))
        desk.hold(name, "C", text(one["qty"]), text(mark / 6))
    desk.marks(C=text(mark))
    (order_id,) = desk.state.book.close_outs[desk.state.row("short")].outstanding
    events = desk.done(c.OrderDone(order_id, "immediate or cancel"))
    taken = [event for event in events if isinstance(event, Deleveraged)]
    (exec_price,) = {Decimal(event.price) for event in taken}
    closed = {event.account_id: abs(event.lots) for event in taken}
    return {"closed": closed, "remaining_acct5": int(desk.position("5", "C")), "exec_price": exec_price}


WAYS: dict[str, Callable[[Row], Found]] = {
    **margins.WAYS,
    "okx-partial-liq-15000": tiers_down,
    "bybit-adl-pool-ex1": pool_drawdown,
    "bitmex-adl-queue": queue,
    "ftx-flowchart": ftx_equities,
    "deribit-lsp-capacity": providers_capacity,
    "bybit_closing_fee": closing_fee,
    "kraken-pas-split": assigned_remainder,
    "deribit_futures_margin": deribit,
    "deribit-im-btc-25": deribit_linear,
    "deribit-im-sol-25": deribit_linear,
    "deribit-mm-sol-25": deribit_linear,
    "okx-linear-liquidation-price-003": okx_isolated,
    "okx-linear-liquidation-price-004": okx_isolated,
    "okx_inverse_liquidation_price": okx_isolated,
    "binance_coinm_isolated_liquidation_price": binance_coinm,
    "okx-freqtrade-short": linear_isolated,
    "htx_isolated_liquidation_price": htx,
    "bitmex_xbtusd_isolated": inverse_by_entry,
    "bybit_inverse_isolated_liquidation_price": inverse_by_entry,
    "bybit-inverse-cross-long": cross_with_close_fee,
    "phemex_cross_liquidation_price": cross_with_close_fee,
    "hyperliquid-funding-live": hyperliquid_funding,
    "hyperliquid-funding-doc": hyperliquid_funding,
    "funding_fee": funding_fee,
    "bitmex-liquidation-insurance": surplus_to_the_fund,
}
