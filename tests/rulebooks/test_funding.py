"""The `[funding]` of a rulebook: what it may say, and what is said about what it may not (EX-06)."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from tests.core.funding_rows import published

from closeout.core.funding import Averaging, FundingTerms, Scaled, Shortening, max_funding_ppm
from closeout.core.times import SECOND
from closeout.core.units import RATE, InputError, rate
from closeout.rulebooks.loader import describe, load
from closeout.rulebooks.policy import FundingPolicy

HOURLY: dict[str, Any] = {"contracts": ["BTCUSDT"], "time_zone": "UTC", "interval_hours": 1, "interest": "0"}


STEPS: dict[str, Any] = {"interval_hours": [4, 2, 1], "calm_rate": "0.00025", "calm_intervals": 16}
SHORT: dict[str, Any] = STEPS | {"interval_hours": [1]}
EIGHT: dict[str, Any] = {"interval_hours": 8, "cap": "0.01"}


def built(**funding: Any) -> FundingPolicy:
    given = {key: value for key, value in (HOURLY | funding).items() if value is not None}
    found = load("reference", {"funding": given}).policy().funding
    assert found is not None
    return found


@pytest.mark.rule("US-14", "EX-06")
def test_the_us_rulebook_is_as_it_was() -> None:
    found = load("kraken-us").policy().funding
    terms = FundingTerms(100_000, 500_000, interval=480, period=480)
    names = ("PBTCUCZ50", "PETHIUZ50", "PSOLUZ50")
    assert found == FundingPolicy(
        dict.fromkeys(names, terms), "America/Chicago", ("03:00", "11:00", "19:00"), booking="15:00"
    )


@pytest.mark.rule("EX-06")
def test_every_way_can_be_said() -> None:
    found = built(
        period_hours=8, averaging="minute_medians", clamp="0.0005", scaled="interest", cap="0.04", cap_for="period",
        notional="index", known_ahead=True, accrual="continuous", step_seconds=60, booking="08:00",
    )  # fmt: skip
    terms = FundingTerms(0, 500_000, 60, 480, Averaging.MINUTE_MEDIANS, Scaled.INTEREST, 40_000_000, cap_of_period=True)
    assert found == FundingPolicy(
        {"BTCUSDT": terms}, "UTC", booking="08:00", step=60 * SECOND, on_index=True, known_ahead=True
    )


@pytest.mark.rule("EX-06")
def test_a_cap_may_be_a_share_of_the_gap_between_the_margins() -> None:
    """BitMEX: 75 % of initial less maintenance margin, 0.375 % at 1 % and 0.5 %."""
    assert built(cap_of_margins="0.75").terms["BTCUSDT"].cap == rate("0.00375", "cap")


@pytest.mark.rule("EX-06")
def test_shorter_intervals_are_data() -> None:
    terms = built(interval_hours=8, cap="0.01", capped=STEPS).terms["BTCUSDT"]
    assert terms.shortening == Shortening((240, 120, 60), 250_000, 16, 480)
    terms = built(interval_hours=8, cap="0.01", capped=STEPS | {"interval_hours": [1], "restored_hours": 4}).terms
    assert terms["BTCUSDT"].shortening == Shortening((60,), 250_000, 16, 240)


@pytest.mark.rule("EX-06")
def test_a_contract_may_have_its_own() -> None:
    own = {
        "ETHUSDT": {"cap": "0.0075", "interest": "0.0002", "clamp": "0.001"},
        "SOLUSDT": {"interval_hours": 4, "period_hours": 8, "capped": {**STEPS, "interval_hours": []}},
    }
    given = {"contracts": ["BTCUSDT", "ETHUSDT", "SOLUSDT"], "interval_hours": 8, "cap_of_margins": "0.75"}
    found = built(**given, capped=STEPS, own=own).terms
    steps = Shortening((240, 120, 60), 250_000, 16, 480)
    assert found["BTCUSDT"] == FundingTerms(0, None, 480, 480, cap=3_750_000, shortening=steps)
    assert found["ETHUSDT"] == FundingTerms(200_000, 1_000_000, 480, 480, cap=7_500_000, shortening=steps)
    assert found["SOLUSDT"] == FundingTerms(0, None, 240, 480, cap=7_500_000)  # 75 % of 2 % - 1 %


@pytest.mark.rule("EX-01", "EX-06")
def test_what_a_rulebook_leaves_out_stays_out_of_its_description() -> None:
    keys = {row["key"] for row in describe(load("kraken-us"))["parameters"] if row["key"].startswith("funding.")}
    said = ("contracts", "time_zone", "interval_ends", "booking", "interest", "clamp", "samples")
    assert keys == {f"funding.{key}" for key in said}


@pytest.mark.rule("EX-01", "EX-06")
@pytest.mark.parametrize(
    ("funding", "message"),
    [
        ({"contracts": []}, "funding.contracts: expected at least one"),
        ({"contracts": ["BTC"]}, "funding.contracts: 'BTC' is not a contract"),
        ({"time_zone": "Mars"}, "funding.time_zone: unknown zone 'Mars'"),
        ({"interval_ends": ["00:00"]}, "funding: expected one of interval_ends and interval_hours"),
        ({"interval_hours": None}, "funding: expected one of interval_ends and interval_hours"),
        ({"time_zone": "America/Chicago"}, "funding.interval_hours: expected the time_zone UTC"),
        ({"interval_hours": 5}, "funding.interval_hours: expected one of 1, 2, 3, 4, 6, 8 hours, got 5"),
        ({"interval_hours": None, "interval_ends": ["00:00", "09:00", "16:00"]}, "divide the day into even hours"),
        ({"interval_hours": None, "interval_ends": ["16:00", "08:00", "00:00"]}, "divide the day into even hours"),
        ({"interval_hours": None, "interval_ends": ["8:00"]}, r"funding.interval_ends\[0\]: expected a time HH:MM"),
        ({"interval_hours": None, "interval_ends": ["00:00"]}, "divide the day into even hours"),
        ({"period_hours": 25}, "funding.period_hours: expected a whole number from 1 to 24, got 25"),
        ({"interval_hours": 8, "period_hours": 1}, "funding.period_hours: expected a whole number from 8 to 24"),
        ({"averaging": "median"}, "funding.averaging: "),
        ({"interest": "2"}, "funding.interest: expected a rate"),
        ({"clamp": "-1"}, "funding.clamp: expected a rate"),
        ({"cap": "0.01", "cap_of_margins": "0.75"}, "funding: expected at most one of cap and cap_of_margins"),
        ({"cap": "2"}, "funding.cap: expected a rate"),
        ({"accrual": "continuous"}, "funding.step_seconds: expected it where accrual is continuous"),
        ({"step_seconds": 60}, "funding.step_seconds: expected it where accrual is continuous"),
        ({"accrual": "continuous", "step_seconds": 7}, "funding.step_seconds: expected a part of the interval, got 7"),
        (
            {"interval_hours": None, "interval_ends": ["00:00", "08:00", "16:00"], "accrual": "continuous",
             "step_seconds": 60},
            "funding.accrual: continuous funding needs interval_hours",
        ),
        ({"cap": "0.01", "capped": SHORT}, r"funding.capped.interval_hours\[0\]: expected less than the one before"),
        ({**EIGHT, "capped": {**SHORT, "interval_hours": [2, 4]}}, r"capped.interval_hours\[1\]: expected less"),
        ({**EIGHT, "capped": {**SHORT, "restored_hours": 1}}, "capped.restored_hours: expected more than the shorter"),
        ({**EIGHT, "capped": {**SHORT, "calm_intervals": 0}}, "capped.calm_intervals: expected a whole number from 1"),
        ({**EIGHT, "capped": {**SHORT, "calm_rate": "2"}}, "capped.calm_rate: expected a rate"),
        ({"capped": SHORT}, "funding.capped: expected a cap for the interval"),
        ({**EIGHT, "cap_for": "period", "capped": SHORT}, "funding.capped: expected a cap for the interval"),
        ({**EIGHT, "known_ahead": True, "capped": SHORT}, "funding.capped: expected interval_hours, and rates of the"),
        ({"own": {"ETHUSDT": {}}}, "funding.own.ETHUSDT: expected one of funding.contracts"),
        ({"own": {"BTCUSDT": {"cap": "2"}}}, "funding.own.BTCUSDT.cap: expected a rate"),
        ({"own": {"BTCUSDT": {"cap": "0.1", "cap_of_margins": "1"}}}, "own.BTCUSDT: expected at most one of cap and"),
        ({"own": {"BTCUSDT": {"interval_hours": 5}}}, "own.BTCUSDT.interval_hours: expected one of 1, 2, 3, 4, 6, 8"),
        (
            {"accrual": "continuous", "step_seconds": 60, "own": {"BTCUSDT": {"interval_hours": 8}}},
            "own.BTCUSDT.interval_hours: expected none beside interval_ends or continuous accrual",
        ),
        ({"own": {"BTCUSDT": {"booking": "08:00"}}}, "booking: unknown key"),
        ({"booking": "25:00"}, "funding.booking: expected a time HH:MM"),
        ({"samples": 0}, "funding.samples: expected a whole number from 1"),
        ({"basis": "mark"}, "funding.basis: unknown key"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named_by_its_key(funding: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        built(**funding)


# -- the shipped rulebooks ---------------------------------------------------------------------------

VENUES = [
    "binance-coinm", "binance-usdm", "bitmex", "bybit", "deribit", "drift-v2", "dydx-v4", "ftx", "hyperliquid",
    "kraken-coinm", "kraken-linear", "okx",
]  # fmt: skip


def shipped(name: str) -> FundingPolicy:
    found = load(name).policy().funding
    assert found is not None
    return found


@pytest.mark.rule("EX-06")
@pytest.mark.parametrize("name", VENUES)
def test_every_perpetual_of_a_venue_is_funded(name: str) -> None:
    contracts = [own.contract for own in load(name).policy().contracts.values()]
    perpetual = [own.name for own in contracts if not own.side and not own.name[-6:].isdecimal()]  # a date ends others
    assert list(shipped(name).terms) == perpetual


@pytest.mark.rule("EX-06", "EX-08")
@pytest.mark.parametrize("row", published("hyperliquid-funding-live"))
def test_hyperliquids_rulebook_gives_the_rate_that_it_settled(row: dict[str, Any]) -> None:
    found = shipped("hyperliquid")
    exact = found.terms["BTC"].exact_rate(Fraction(row["inputs"]["premium"])) / RATE
    assert abs(exact - Fraction(row["expected"]["hourly_rate"])) <= Fraction(row["tolerance"])
    assert found.on_index


@pytest.mark.rule("EX-06")
@pytest.mark.parametrize(
    ("name", "contract", "premium", "expected"),
    [
        ("binance-usdm", "BTCUSDT", "0", "0.0001"),
        ("binance-usdm", "BTCUSDT", "-0.02", "-0.003"),  # where it stopped on 13 March 2020
        ("bybit", "BTCUSDT", "0.02", "0.00375"),  # and in January 2021
        ("bitmex", "XBTUSDT", "-0.02", "-0.00375"),
        ("deribit", "BTC-PERPETUAL", "0.0002", "0"),
        ("deribit", "BTC-PERPETUAL", "0.001", "0.00075"),
        ("okx", "BTC-USDT-SWAP", "0.001", "0.001"),
        ("okx", "BTC-USDT-SWAP", "0.01", "0.00375"),
        ("okx", "ETH-USDT-SWAP", "-0.01", "-0.0075"),
        ("okx", "SOL-USDT-SWAP", "0.03", "0.015"),
        ("hyperliquid", "ETH", "0.01", "0.0011875"),  # an eighth of the 0.95 % of the documents' example
        ("hyperliquid", "ETH", "1", "0.04"),
        ("dydx-v4", "BTC-USD", "0.001", "0.000125"),
        ("dydx-v4", "BTC-USD", "0.1", "0.006"),  # an eighth of 600 % x (2 % - 1.2 %)
        ("drift-v2", "BTC-PERP", "0.024", "0.001"),
        ("drift-v2", "BTC-PERP", "0.1", "0.00125"),
        ("ftx", "BTC-PERP", "-0.024", "-0.001"),
        ("kraken-linear", "PF_XBTUSD", "0.1", "0.005"),
        ("kraken-coinm", "PI_XBTUSD", "-0.1", "-0.005"),
    ],
)
def test_the_venues_formulas(name: str, contract: str, premium: str, expected: str) -> None:
    assert shipped(name).terms[contract].rate_of(Fraction(premium)) == rate(expected, "rate")


@pytest.mark.rule("EX-06")
@pytest.mark.parametrize(
    ("name", "contract", "expected"),
    [
        ("binance-usdm", "BTCUSDT", Shortening((60,), 250_000, 16, 240)),
        ("bybit", "BTCUSDT", None),
        ("bybit", "ETHUSDT", None),
        ("bybit", "SOLUSDT", Shortening((60,), 250_000, 16, 480)),
        ("okx", "ETH-USDT-SWAP", Shortening((240, 120, 60), 250_000, 16, 480)),
    ],
)
def test_where_intervals_shorten(name: str, contract: str, expected: Shortening | None) -> None:
    assert shipped(name).terms[contract].shortening == expected


@pytest.mark.rule("EX-06")
@pytest.mark.parametrize(
    ("name", "contract", "rate_percent"),
    [("binance-usdm", "BTCUSDT", "0.01875"), ("bybit", "SOLUSDT", "0.15"), ("okx", "BTC-USDT-SWAP", "0.2")],
)
def test_the_rate_of_a_shorter_interval(name: str, contract: str, rate_percent: str) -> None:
    """A premium of 0.2 % for an hour: Binance divides the whole rate, Bybit the interest alone, OKX nothing."""
    got = shipped(name).terms[contract].rate_of(Fraction(2, 1000), Fraction(60))
    assert got == rate(rate_percent, "rate") // 100


@pytest.mark.rule("EX-06", "EX-08")
def test_dydx_caps_as_the_chain_does() -> None:
    """The cap of the tier's margins, in parts per million: a clamp factor of 600 %, maintenance 60 % of initial."""
    terms = shipped("dydx-v4").terms
    for contract, initial_ppm in (("BTC-USD", 20_000), ("SOL-USD", 50_000)):
        assert terms[contract].cap == max_funding_ppm(6_000_000, initial_ppm, 600_000) * (RATE // 10**6)


# -- docs/funding.md ---------------------------------------------------------------------------------


def described(name: str) -> str:
    """A rulebook's row in the table of docs/funding.md."""
    funding = shipped(name)
    first = next(iter(funding.terms.values()))
    caps = list(dict.fromkeys(percent(terms.cap) for terms in funding.terms.values()))
    hours = list(dict.fromkeys(intervals(terms) for terms in funding.terms.values()))
    cells = (
        f"`{name}`",
        {"weighted": "weighted", "mean": "mean", "minute_medians": "minutes' medians"}[first.averaging.value],
        f"{percent(first.interest)} / {first.period // 60} h",
        percent(first.clamp),
        " or ".join(caps) + (f" of {first.period // 60} h" if first.cap_of_period else ""),
        " or ".join(hours),
        "index" if funding.on_index else "mark",
        "before" if funding.known_ahead else "itself",
        f"each {funding.step // SECOND} s" if funding.step else "at its end",
        f"{funding.booking} {funding.time_zone}" if funding.booking else "at its end",
        "free cash" if funding.from_balance else "its margin",
    )
    return f"| {' | '.join(cells)} |"


def intervals(terms: FundingTerms) -> str:
    shorter = terms.shortening.shorter if terms.shortening else ()
    return " → ".join(f"{minutes // 60} h" for minutes in (terms.interval, *shorter))


def percent(value: int | None) -> str:
    return "none" if value is None else f"{Decimal(value).scaleb(-7).normalize():f} %"


@pytest.mark.rule("EX-01", "EX-06")
def test_the_page_says_what_the_rulebooks_say() -> None:
    page = (Path(__file__).parents[2] / "docs" / "funding.md").read_text(encoding="utf-8")
    table = page.partition("| Rulebook |")[2].partition("\n\n")[0].splitlines()[2:]
    assert table == [described(name) for name in ["kraken-us", *VENUES]]
