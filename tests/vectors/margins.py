"""Margins of centralised venues that take more than one document for `quote`, another unit, or a rulebook's reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction

from tests.studies.published import Held, contract, document, of, side, text
from tests.vectors.asked import THOUSAND, Found, Row, answer

from closeout.core.margin import MarginKind
from closeout.rulebooks.loader import load
from closeout.studies.quote import quote


def bitmex_components(row: Row) -> Found:
    """Margins with the fee of closing in them, which BitMEX takes of the value and the position's initial margin
    whatever the side: as of a short position here. `maint_margin` is that margin and the open profit."""
    cost, own, fee = of(row, "pos_cost_abs", "pos_init", "commission")
    own += Decimal(row["inputs"].get("pos_cross", 0))
    places = Decimal("1e-8")
    tier = {
        "initial_margin_rate": text((own / cost).quantize(Decimal("1e-9"), ROUND_DOWN)),
        "maintenance_margin_rate": text(Decimal(row["inputs"].get("maint_margin_rate", 0)) or own / cost / 2)[:11],
    }
    held = Held(Decimal(-1), cost * places, tiers=[tier])
    given = {
        "taker_fee": text(fee),
        "requirement_base": "entry",
        "close_fee_in_requirement": True,
        "close_fee_on": "bankruptcy",
    }
    found = answer(row, [held], given, cash=Decimal(1), tick=places)
    margin = Decimal(found["initial_margin"])
    won = (cost - Decimal(row["inputs"].get("unrealised_pnl", 0))) * places
    alone = answer(row, [replace(held, mark=won, margin=margin)], given, tick=places)["positions"][0]
    numbers = {
        "pos_comm": Decimal(found["positions"][0]["close_fee"]) / places,
        "pos_maint": Decimal(found["maintenance_margin"]) / places,
        "pos_margin": margin / places,
        "maint_margin": Decimal(alone["net_liq"]) / places,
    }
    return {key: numbers[key] for key in row["expected"] if key in numbers}


def phemex(row: Row) -> Found:
    """What a position is given is its initial margin, with the fee of closing at the bankruptcy price in it."""
    value, leverage, rate, size, fee = of(row, "open_value", "leverage", "mmr", "size", "taker")
    held = Held(size, value / size, rate=rate)
    given = {"taker_fee": text(fee), "close_fee_in_requirement": True, "close_fee_on": "bankruptcy"}
    tier = {"max_leverage": text(leverage)}
    margin = Decimal(answer(row, [held], given, tier, cash=value)["initial_margin"])
    alone = answer(row, [replace(held, margin=margin)], given, tier)["positions"][0]
    return {"assigned_balance": margin, "liquidation_price": Decimal(alone["liquidation_price"])}


def dydx_equity(row: Row) -> Found:
    """The account at its mark, and its requirement at the price of entry."""
    deposit, size, entry, price, rate = of(row, "deposit", "long", "entry", "price", "MMF")
    held = Held(size, entry, price, rate=rate)
    now, then = (answer(row, [one], cash=deposit, tick=Decimal("0.001")) for one in (held, replace(held, mark=entry)))
    return {
        "pnl": Decimal(now["positions"][0]["unrealized_pnl"]),
        "equity": Decimal(now["net_liq"]),
        "MMR_at_entry": Decimal(then["requirement"]),
    }


def hyperliquid_2023(row: Row) -> Found:
    """Before 2024 no requirement was marked anew at the price sought: all of it stands still. The other positions are a
    unit at 1 with their margins; lots are as fine as the size is stated."""
    size, value, entry, equity, leverage, total, used = of(
        row,
        *("szi", "position_value", "entry_price", "cross_account_value", "leverage", "total_notional"),
        "total_margin_used",
    )
    mark = value / abs(size)
    fixed = {"maintenance_margin": text(value / 100 / abs(size)), "initial_margin_rate": text(1 / leverage)}
    others = {
        "maintenance_margin": text((total - value) / 100),
        "initial_margin": text(round(used - value / leverage, 8)),
    }
    own = Held(size, entry, mark, leverage=leverage, tiers=[fixed])
    held = [own, Held(Decimal(1), Decimal(1), tiers=[others])]
    asked = document(row, held, cash=equity - size * (mark - entry), tick=Decimal("1e-6"))
    asked["overrides"]["contracts"]["C0"]["lot"] = text(Decimal(1).scaleb(int(size.as_tuple().exponent)))
    found = quote(asked, row["id"])
    position, most = found["positions"][0], found["largest_orders"][0]
    price = position["liquidation_price"]
    return {
        "liquidation_price": None if price is None else Decimal(price),
        "margin_used": Decimal(position["initial_margin"]),
        "unrealised_pnl": Decimal(position["unrealized_pnl"]),
        "max_trade_size_buy": Decimal(most["buy"]),
        "max_trade_size_sell": Decimal(most["sell"]),
    }


def collateral_at_the_line(row: Row) -> Found:
    """What a position without any cash is short of at its liquidation price, and its margins at the mark."""
    size, entry, mark, line, rate, leverage = of(
        row,
        *("position_amount", "entry_price", "mark_price", "liquidation_price", "maintenance_margin_rate", "leverage"),
    )
    held = Held(size, entry, line, rate=rate, initial_rate=1 / leverage)
    tick, cash = Decimal("1e-7"), Decimal("1e-8")
    short = Decimal(answer(row, [held], tick=tick, cash=cash)["excess_maintenance_margin"])
    now = answer(row, [replace(held, mark=mark)], tick=tick, cash=cash)
    margins = {name: Decimal(now[name]) for name in ("initial_margin", "maintenance_margin")}
    return {"collateral": -short, **margins}


def bitmex_steps(row: Row) -> Found:
    """A rate for the whole position that rises by steps: the tiers as the venue's table has them."""
    start, step, base_mm, base_im = of(row, "base_risk_limit_xbt", "risk_step_xbt", "base_mm", "base_im")
    tiers: list[Mapping[str, str]] = [
        {
            "notional_from": text(0 if not number else start + (number - 1) * step),
            "maintenance_margin_rate": text(base_mm * (number + 1)),
            "initial_margin_rate": text(base_im + base_mm * number),
        }
        for number in range(3)
    ]
    rates: dict[str, Row] = {}
    for when in ("before", "after"):
        (size,) = of(row, f"position_{when}_xbt")
        held = Held(size, Decimal(1), tiers=tiers)
        rates[when] = quote(document(row, [held], tick=Decimal("0.01")), row["id"])["positions"][0]
    before, after = rates["before"], rates["after"]
    return {
        "mm_before_xbt": Decimal(before["maintenance_margin"]),
        "mm_rate_before": Decimal(before["maintenance_margin"]) / Decimal(before["notional"]),
        "mm_rate_after": Decimal(after["maintenance_margin"]) / Decimal(after["notional"]),
        "im_rate_after": Decimal(after["initial_margin"]) / Decimal(after["notional"]),
    }


def bybit_margins(row: Row) -> Found:
    """Requirements on the value at entry that include the fee of closing what is left of it at a leverage that the
    contract's tier allows."""
    leverage, fee, rate = of(row, "leverage", "taker_fee_rate", "maintenance_margin_rate")
    base = "mark_value" if "mark_value" in row["inputs"] else "entry_value"
    (value,) = of(row, base)
    held = Held(Decimal(side(row)), value, rate=rate)
    given = {
        "taker_fee": text(fee),
        "close_fee_in_requirement": True,
        "close_fee_on": "bankruptcy",
        "requirement_base": "entry",
    }
    found = answer(row, [held], given, tier={"max_leverage": text(leverage)}, cash=value)
    return {key: Decimal(found[key]) for key in row["expected"]}


def deribit_together(row: Row) -> Found:
    """A short of the reference, with what it is short of at its stated price as its cash, and a trace of the other
    contract beside it."""
    reference, other = (Decimal(one["mark_price"]) for one in row["inputs"]["rows"])
    (line,) = of(row, "reference_estimated_liquidation_price")
    tick, held = Decimal("0.01"), Held(Decimal(-1), reference, line, rate=Decimal("0.01"))
    short = Decimal(answer(row, [held], tick=tick, cash=Decimal("1e-8"))["excess_maintenance_margin"])
    trace = Held(Decimal("-1e-8"), other, rate=Decimal("0.01"))
    found = answer(row, [replace(held, mark=reference), trace], tick=tick, cash=-short)
    return {"estimated_liquidation_price": Decimal(found["all_together"]["prices"]["C1"])}


def kraken_inverse_account(row: Row) -> Found:
    contracts, entry, balance, value, initial, rate = of(
        row, "contracts", "entry_price", "balance", "position_value", "im_rate", "mm_rate"
    )
    mark = contracts / value / THOUSAND
    tick = Decimal("0.0000001")
    held = Held(
        side(row) * contracts,
        entry / THOUSAND,
        mark.quantize(tick),
        rate=rate,
        initial_rate=initial,
        inverse_size=Decimal(1),
    )
    found = answer(row, [held], cash=balance * THOUSAND, tick=tick)
    names = {
        "pnl": "open_trade_equity",
        "portfolio_value": "net_liq",
        "initial_margin": "initial_margin",
        "maintenance_margin": "maintenance_margin",
        "liquidation_threshold": "requirement",
        "termination_threshold": "requirement",
        "available_funds": "excess_initial_margin",
    }
    return {key: Decimal(found[name]) / THOUSAND for key, name in names.items()}


def kraken_brackets(row: Row) -> Found:
    """The rate of the first bracket, of a position within it; an amount makes brackets of the tiers."""
    (first, second) = row["inputs"]["tiers"]
    tiers: list[Mapping[str, str]] = [
        {"initial_margin_rate": text(first[1]), "maintenance_margin_rate": text(first[2])},
        {
            "notional_from": text(first[0]),
            "initial_margin_rate": text(second[1]),
            "initial_amount": text(first[0] * (second[1] - first[1])),
            "maintenance_margin_rate": text(second[2]),
            "maintenance_amount": text(first[0] * (second[2] - first[2])),
        },
    ]
    held = Held(Decimal(first[0]), Decimal(1), tiers=tiers)
    found = quote(document(row, [held], tick=Decimal("0.01"), currency="USD"), row["id"])["positions"][0]
    return {"first_tier_im_rate": Decimal(found["initial_margin"]) / Decimal(found["notional"])}


def bracket_amount(row: Row) -> Found:
    """The last of three brackets, joined to one of which rate and amount are known."""
    coins = "floor_btc" in row["inputs"]
    start, rate, before, amount = of(row, "floor_btc" if coins else "floor", "mmr_n", "mmr_prev", "cum_prev")
    tiers = [
        {"maintenance_margin_rate": text(before)},
        {
            "notional_from": text(round(amount / before, 6) + 1),
            "maintenance_margin_rate": text(before),
            "maintenance_amount": text(amount),
        },
        {
            "notional_from": text(start),
            "maintenance_margin_rate": text(rate),
            "maintenance_amount": "continuous",
        },
    ]
    return {"maint_amount": _amounts(tiers, "BTC" if coins else "USDT")[-1]}


def bracket_amounts(row: Row) -> Found:
    """All brackets of a contract, joined by their rates."""
    tiers = [
        {
            "notional_from": text(one["min_notional"]),
            "max_leverage": text(one["max_leverage"]),
            "maintenance_margin_rate": text(one["maintenance_margin_rate"]),
            **({"maintenance_amount": "continuous"} if number else {}),
        }
        for number, one in enumerate(row["inputs"]["tiers"])
    ]
    return {"maintenance_amounts": _amounts(tiers, "USDT")}


def tier_lookup(row: Row) -> Found:
    """The rate is that at which half a unit more raises the margin, the amount what the rate of all is more than it."""
    tiers: list[Mapping[str, str]] = [
        {
            "notional_from": text(tier["min_notional"]),
            "maintenance_margin_rate": text(tier["maintenance_margin_rate"]),
            "maintenance_amount": text(tier.get("maintenance_amount", 0)),
        }
        for tier in row["inputs"]["tiers"]
    ]
    (notional,), half = of(row, "notional"), Decimal("0.5")
    held = [Held(size, Decimal(1), tiers=tiers) for size in (notional, notional + half)]
    asked = [document(row, [one], tick=Decimal("0.01"), currency="USDT") for one in held]
    now, more = (Decimal(quote(one, row["id"])["maintenance_margin"]) for one in asked)
    rate = (more - now) / half
    found = {
        "maintenance_margin": now,
        "maintenance_margin_rate": rate,
        "maintenance_amount": rate * notional - now,
    }
    return {key: found[key] for key in row["expected"]}


def _amounts(tiers: list[dict[str, str]], currency: str) -> list[Decimal]:
    """What a rulebook's reader makes of the tiers."""
    contract = {"tick": "0.01", "lot": "1", "tiers": tiers}
    policy = load("reference", {"currency": currency, "contracts": {"C": contract}}).policy()
    amounts = [tier.amount[MarginKind.MAINTENANCE] for tier in policy.contracts["C"].tiers]
    return [Decimal(policy.currency.text(amount)) for amount in amounts]


def collateral_value(row: Row) -> Found:
    """An asset that counts at its price less a haircut, and nothing else in the account."""
    inputs = row["inputs"]
    haircut = Decimal(inputs["haircut"]) if "haircut" in inputs else 1 - Decimal(inputs["factor"])
    asset = {"asset": inputs["currency"], "amount": "1", "price": text(inputs["value_usd"]), "haircut": text(haircut)}
    found = quote(document(row, [], tick=Decimal(1)) | {"collateral": [asset]}, row["id"])
    assert found["collateral"] == found["net_liq"]
    return {"collateral_value": Decimal(found["net_liq"])}


def flex_account(row: Row) -> Found:
    """Two assets as one, with the haircut that both have together, one position of the account's value at 50x, and an
    order for what open orders ask for beside it. In thousandths, for figures of more than eight places."""
    names = ("balance_value", "collateral_value", "total_unrealized_as_margin", "initial_margin_positions")
    balance, counted, profit, initial = of(row, *names)
    (ordered,) = of(row, "initial_margin_with_orders")
    tick = Decimal("1e-6")
    mark = round(initial * 50 * THOUSAND / tick) * tick
    held = Held(Decimal(1), mark - profit * THOUSAND, mark, rate=Decimal("0.01"), initial_rate=Decimal("0.02"))
    haircut = (1 - counted / balance).quantize(Decimal("1e-18"), ROUND_DOWN)
    asset = {"asset": "USD and XBT", "amount": "1", "price": text(balance * THOUSAND), "haircut": text(haircut)}
    asked: Row = document(row, [held], tick=tick) | {"collateral": [asset]}
    if more := ordered - initial:
        asked["overrides"]["contracts"]["C1"] = contract(replace(held, quantity=Decimal(1)), tick)
        asked["marks"]["C1"] = text(round(more * 50 * THOUSAND / tick) * tick)
        asked["orders"] = [{"contract": "C1", "quantity": "1"}]
    found = quote(asked, row["id"])
    return {
        "total_unrealized": Decimal(found["open_trade_equity"]) / THOUSAND,
        "margin_equity": Decimal(found["net_liq"]) / THOUSAND,
        "maintenance_margin": Decimal(found["maintenance_margin"]) / THOUSAND,
        "effective_leverage": Fraction(found["positions"][0]["notional"]) / Fraction(found["net_liq"]),
        "available_margin": Decimal(found["available_margin"]) / THOUSAND,
        "portfolio_value": Decimal(found["portfolio_value"]) / THOUSAND,
    }


WAYS: dict[str, Callable[[Row], Found]] = {
    "kraken-margin-marginal": kraken_brackets,
    "hyperliquid_cross_liquidation_price_2023": hyperliquid_2023,
    "deribit-estimated-liquidation-price-ratio-002": deribit_together,
    "phemex-usdtm-iso": phemex,
    "dydx-loss-example-equity": dydx_equity,
    "bitmex_position_margin_components": bitmex_components,
    "binance_cross_collateral_from_liquidation": collateral_at_the_line,
    "binance-maintamount-250k": bracket_amount,
    "binance-coinm-maintamount": bracket_amount,
    "binance_maintenance_amount_recursion": bracket_amounts,
    "maintenance_tier_lookup": tier_lookup,
    "kraken_flex_collateral_value": collateral_value,
    "kraken_flex_account_summary": flex_account,
    "bitmex-risklimit-xbtusd-old": bitmex_steps,
    "bybit_position_margins": bybit_margins,
    "kraken_inverse_margin_account": kraken_inverse_account,
}
