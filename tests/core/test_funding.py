"""The funding rate's formulas (US-14, EX-06): Bitnomial's, and those of the venues whose examples were published."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.funding_rows import published

from closeout.core.funding import (
    Averaging,
    Cadence,
    FundingTerms,
    Scaled,
    Shortening,
    average,
    funding_index_delta,
    funding_rate,
    max_funding_ppm,
    mean,
    minute_medians,
    part_of_rate,
    premium,
    settlement,
    settlement_ppm,
)
from closeout.core.times import HOUR, MINUTE, SECOND
from closeout.core.units import InputError, rate
from closeout.rulebooks.loader import load

INTEREST = rate("0.0001", "interest")
CLAMP = rate("0.0005", "clamp")
SAMPLES = 1920
HYPERLIQUID = FundingTerms(INTEREST, CLAMP, interval=60, period=480, averaging=Averaging.MEAN, cap=rate("0.04", "cap"))
DERIBIT = FundingTerms(0, rate("0.00025", "clamp"), interval=60, period=480, cap=rate("0.005", "cap"))


def percent(text: str) -> Fraction:
    return Fraction(text) / 100


@pytest.mark.rule("US-14")
@pytest.mark.parametrize(
    ("premium_percent", "rate_percent"),
    [
        ("-0.20", "-0.15"),
        ("-0.10", "-0.05"),
        ("-0.05", "0.00"),
        ("-0.04", "0.01"),
        ("0.00", "0.01"),
        ("0.06", "0.01"),
        ("0.10", "0.05"),
        ("0.20", "0.15"),
    ],
)
def test_rate_of_a_constant_premium(premium_percent: str, rate_percent: str) -> None:
    got = funding_rate([percent(premium_percent)] * SAMPLES, INTEREST, CLAMP)
    assert got == percent(rate_percent) * 10**9


@pytest.mark.rule("US-14")
def test_the_shipped_rulebook_names_the_same_constants() -> None:
    funding = load("kraken-us").table.funding
    assert funding is not None
    assert (rate(funding.interest or "", "interest"), rate(funding.clamp or "", "clamp")) == (INTEREST, CLAMP)
    assert funding.samples == SAMPLES
    assert funding.interval_ends == ["03:00", "11:00", "19:00"]
    assert funding.booking == "15:00"


@pytest.mark.rule("US-14")
def test_weights_are_the_samples_numbers_and_add_up_to_1844160() -> None:
    for index in (1, 2, 1000, SAMPLES):
        samples = [Fraction(0)] * SAMPLES
        samples[index - 1] = Fraction(1)
        assert average(samples) == Fraction(index, 1_844_160)


@pytest.mark.rule("US-14")
def test_premium_is_zero_inside_the_spread_and_signed_outside() -> None:
    assert premium(99, 101, 100) == 0
    assert premium(100, 100, 100) == 0
    assert premium(102, 103, 100) == Fraction(2, 100)
    assert premium(96, 97, 100) == Fraction(-3, 100)
    assert premium(Fraction(302, 3), 105, 100) == Fraction(2, 300)


@pytest.mark.rule("US-14", "G-01")
def test_the_rate_is_rounded_to_the_nearest_and_ties_favour_nobody() -> None:
    tick = Fraction(1, 10**9)
    for share, expected in (("0.5", 0), ("1.5", 2), ("0.49", 0), ("-0.5", 0), ("-1.5", -2), ("-0.51", -1)):
        assert funding_rate([Fraction(share) * tick], 0, 0) == expected


@pytest.mark.rule("US-14")
@pytest.mark.parametrize("bad", [lambda: average([]), lambda: premium(1, 1, 0)])
def test_what_cannot_be_a_sample_is_refused(bad: object) -> None:
    assert callable(bad)
    with pytest.raises(InputError):
        bad()


@pytest.mark.rule("US-14")
@given(st.lists(st.fractions(-1, 1, max_denominator=10**6), min_size=1, max_size=30))
def test_the_rate_never_strays_from_the_average_by_more_than_the_clamp(samples: list[Fraction]) -> None:
    share = average(samples) * 10**9
    got = funding_rate(samples, INTEREST, CLAMP)
    assert abs(got - share) <= CLAMP + Fraction(1, 2)
    if abs(INTEREST - share) <= CLAMP:
        assert got == INTEREST
    assert funding_rate([-sample for sample in samples], -INTEREST, CLAMP) == -got  # the other side's view


# -- the venues' ways (EX-06) ------------------------------------------------------------------------


@pytest.mark.rule("EX-06", "EX-08")
@pytest.mark.parametrize("row", published("hyperliquid-funding-live"))
def test_hyperliquid_pays_an_eighth_of_its_rate_each_hour(row: dict[str, Any]) -> None:
    share = Fraction(row["inputs"]["premium"])
    expected = Fraction(row["expected"]["hourly_rate"])
    assert abs(HYPERLIQUID.exact_rate(share) / 10**9 - expected) <= Fraction(row["tolerance"])
    assert HYPERLIQUID.rate_of(share) == -7397  # to the nearest 1e-9


@pytest.mark.rule("EX-06", "EX-08")
@pytest.mark.parametrize("row", published("hyperliquid-funding-doc"))
def test_the_documents_example_is_the_rate_before_it_is_divided(row: dict[str, Any]) -> None:
    """The page stops at the 8-hour rate; what is paid each hour is an eighth of it."""
    share, expected = Fraction(row["inputs"]["premium"]), Fraction(row["expected"]["rate"])
    whole = FundingTerms(INTEREST, CLAMP, interval=480, period=480)
    assert whole.rate_of(share) == expected * 10**9
    assert HYPERLIQUID.rate_of(share) == expected * 10**9 / 8


@pytest.mark.rule("EX-06", "EX-08")
@pytest.mark.parametrize("row", published("GetMaxAbsFundingClampPpm"))
def test_dydx_caps_a_rate_by_the_margins(row: dict[str, Any]) -> None:
    given = row["inputs"]
    clamp, initial = int(given["clamp_factor_ppm"]), int(given["initial_margin_ppm"])
    got = max_funding_ppm(clamp, initial, int(given["maintenance_fraction_ppm"]))
    assert got == row["expected"]["max_abs_funding_ppm"]


@pytest.mark.rule("EX-06", "EX-08")
@pytest.mark.parametrize("row", published("GetSettlementPpm"))
def test_dydx_settles_by_the_move_of_the_funding_index(row: dict[str, Any]) -> None:
    given = row["inputs"]
    got = settlement_ppm(given["perpetual_funding_index"], given["position_funding_index"], given["quantums"])
    assert got == row["expected"]["net_settlement_ppm"]


@pytest.mark.rule("EX-06", "G-01")
def test_dydx_rounds_an_accounts_settlement_down_once_and_an_index_towards_zero() -> None:
    assert settlement([-1, -1]) == -1
    assert settlement([999_999]) == 0
    assert settlement([500_000, 500_000]) == 1
    quote_per_base = Fraction(1, 3)
    assert funding_index_delta(1000, 3600, quote_per_base) == 41  # 1,200,000 / 28,800 = 41.67
    assert funding_index_delta(-1000, 3600, quote_per_base) == -41


@pytest.mark.rule("EX-06")
def test_samples_are_averaged_in_the_venues_way() -> None:
    samples = [(second * SECOND, Fraction(value)) for second, value in ((15, 1), (30, 9), (60, 2), (75, 4), (120, 6))]
    assert mean([value for _, value in samples]) == Fraction(22, 5)
    assert minute_medians(samples) == Fraction(7, 2)  # medians 2 and 5: a minute's end belongs to it
    for averaging, expected in (("weighted", Fraction(1 + 18 + 6 + 16 + 30, 15)), ("mean", Fraction(22, 5))):
        assert FundingTerms(0, None, 60, 60, Averaging(averaging)).average(samples) == expected
    assert FundingTerms(0, None, 60, 60, Averaging.MINUTE_MEDIANS).rate(samples) == 3_500_000_000
    with pytest.raises(InputError):
        minute_medians([])


@pytest.mark.rule("EX-06")
@pytest.mark.parametrize(
    ("premium_percent", "rate_percent"),
    [("0.02", "0"), ("-0.025", "0"), ("0.1", "0.075"), ("-0.1", "-0.075"), ("3", "2.975")],
)
def test_a_damper_is_a_clamp_around_no_interest(premium_percent: str, rate_percent: str) -> None:
    """Deribit: within 0.025 % nothing is paid, beyond it what is beyond."""
    terms = FundingTerms(0, rate("0.00025", "clamp"), interval=480, period=480)
    assert terms.rate_of(percent(premium_percent)) == percent(rate_percent) * 10**9


@pytest.mark.rule("EX-06")
def test_the_order_of_cap_and_division() -> None:
    share = percent("1")
    one = rate("0.01", "cap")
    assert FundingTerms(0, None, 60, 480, cap=one // 2).rate_of(share) == one // 8
    assert FundingTerms(0, None, 60, 480, cap=one // 2, cap_of_period=True).rate_of(share) == one // 16
    assert FundingTerms(0, None, 60, 480, cap=one // 16).rate_of(-share) == -one // 16
    assert DERIBIT.rate_of(percent("100"), Fraction(1, 60_000)) == round(Fraction(10**9 - 250_000, 480 * 60_000))


@pytest.mark.rule("EX-06")
def test_interest_alone_may_be_scaled() -> None:
    """Bybit at one hour: an eighth of the interest, the premium and the clamp as they are."""
    terms = FundingTerms(INTEREST, CLAMP, interval=60, period=480, scaled=Scaled.INTEREST)
    assert terms.rate_of(Fraction(0)) == INTEREST // 8
    assert terms.rate_of(percent("0.2")) == rate("0.0015", "rate")
    assert FundingTerms(INTEREST, CLAMP, 60, 480).rate_of(percent("0.2")) == rate("0.0015", "rate") // 8


@pytest.mark.rule("EX-06")
def test_without_a_clamp_interest_is_added() -> None:
    """dYdX: an hour's rate is an eighth of premium and interest together."""
    assert FundingTerms(8000, None, interval=60, period=480).rate_of(percent("0.1")) == 126_000


@pytest.mark.rule("EX-06")
@given(st.integers(-(10**9), 10**9), st.integers(1, 3600))
def test_parts_of_a_rate_add_up_to_it(whole: int, parts: int) -> None:
    got = [part_of_rate(whole, index, index + 1, parts) for index in range(parts)]
    assert sum(got) == whole
    assert max(got) - min(got) <= 2


# -- intervals that shorten (EX-06) ------------------------------------------------------------------

STEPS = FundingTerms(0, None, 480, 480, cap=10, shortening=Shortening((240, 120, 60), 3, 2, 480))
FOUR = FundingTerms(0, None, 240, 240, cap=10, shortening=Shortening((120, 60), 3, 2, 240))
AT_ONCE = FundingTerms(0, None, 480, 480, cap=10, shortening=Shortening((60,), 3, 16, 240))


def paid(terms: FundingTerms, rates: list[int], start: int) -> list[int]:
    """The hours at which intervals end, the first one that ends after `start`, with these rates."""
    cadence, at, hours = Cadence(terms.interval), start * HOUR, list[int]()
    for value in rates:
        at = cadence.next_end(at)
        hours.append(at // HOUR)
        cadence = cadence.after(terms, value, at + 7 * SECOND)
    return [*hours, cadence.next_end(at) // HOUR]


@pytest.mark.rule("EX-06")
def test_okx_shortens_one_step_at_a_time_and_goes_back_directly() -> None:
    """The announcement's example: at the cap at 16:00 and 18:00, from four hours to two and to one."""
    assert paid(FOUR, [10, -10, 0, 0], start=13) == [16, 18, 19, 20, 24]
    assert paid(STEPS, [10, 10, 10, 10, 4], start=0) == [8, 12, 14, 15, 16, 17]


@pytest.mark.rule("EX-06")
def test_binance_shortens_to_an_hour_at_once_and_goes_back_to_four_after_sixteen_calm_ones() -> None:
    """BTCUSDT's example, at the cap at 08:00, and that of the way back: 14:00 is paid hourly, then 16:00."""
    assert paid(AT_ONCE, [-10, *[3] * 13, 4, *[-3] * 16], start=7) == [8, *range(9, 39), 40]
    assert paid(AT_ONCE, [9], start=7) == [8, 16]
    assert paid(AT_ONCE, [10, *[0] * 21, 9, 10], start=0)[-4:] == [44, 48, 52, 53]


@pytest.mark.rule("EX-06")
def test_the_first_interval_after_shorter_ones_is_what_is_left_of_it() -> None:
    cadence = Cadence(60, 15, 13 * HOUR).after(AT_ONCE, 0, 14 * HOUR)
    assert (cadence.interval, cadence.next_end(14 * HOUR)) == (240, 16 * HOUR)
    assert cadence.begin(16 * HOUR) == 14 * HOUR
    assert cadence.after(AT_ONCE, 9, 16 * HOUR).begin(20 * HOUR) == 16 * HOUR


@pytest.mark.rule("EX-06")
def test_a_contract_whose_intervals_do_not_shorten_stays_as_it_is() -> None:
    terms = FundingTerms(0, None, 480, 480, cap=10)
    assert Cadence(480).after(terms, 10, 8 * HOUR) == Cadence(480)
    assert Cadence(480).begin(8 * HOUR) == 0


@pytest.mark.rule("EX-06")
@given(st.lists(st.integers(-10, 10), max_size=60), st.sampled_from([STEPS, FOUR, AT_ONCE]))
def test_intervals_follow_one_another_without_a_gap_or_an_overlap(rates: list[int], terms: FundingTerms) -> None:
    cadence, at = Cadence(terms.interval), 8 * HOUR
    lengths = {terms.interval, *terms.shortening.shorter} if terms.shortening else set[int]()
    for value in rates:
        end = cadence.next_end(at)
        assert cadence.begin(end) == at
        assert end % (cadence.interval * MINUTE) == 0
        cadence, at = cadence.after(terms, value, end), end
        assert cadence.interval in lengths | {240}
