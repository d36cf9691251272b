"""Rules that share a deficit among winners: paper examples at their own precision, and what must hold for any input."""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.studies.published import Held, document

from closeout.core.units import apportion
from closeout.studies.allocations import (
    Allocation,
    Exact,
    Position,
    Winner,
    bankruptcy_price,
    best_fund,
    best_fund_of,
    capped_pro_rata,
    filled_price,
    fund_pays,
    liquidation_fee,
    liquidation_price,
    power,
    pro_rata,
    queue,
    risk_aware,
    shortfall,
    tail,
    whole_shares,
)
from closeout.studies.quote import quote

A = Position(1, 1, 2, 1)
B = Position(1, 1, Fraction(2, 3), 1)
C = Position(4, 1, Fraction(8, 3), -1)
D = Position(1, 1, Fraction(2, 19), 1)
E = Position(1, 1, Fraction(10, 99), -1)
RATE = Fraction(1, 10)


def places(number: Fraction, digits: int) -> str:
    return f"{float(round(number, digits)):.{digits}f}"


# The paper's examples (arXiv 2512.01112, appendix), recomputed from the entry price.


@pytest.mark.rule("EX-08")
@pytest.mark.parametrize(
    ("position", "bankrupt", "liquidated"),
    [
        (A, "0.000000", "0.000000"),
        (B, "0.333333", "0.370370"),
        (C, "1.666667", "1.515152"),
        (D, "0.894737", "0.994152"),
        (E, "1.101010", "1.000918"),
    ],
)
def test_prices_of_the_five_positions(position: Position, bankrupt: str, liquidated: str) -> None:
    assert places(bankruptcy_price(position), 6) == bankrupt
    assert places(liquidation_price(position, RATE), 6) == liquidated


@pytest.mark.rule("EX-08", "G-05")
@pytest.mark.parametrize("position", [B, C, D, E])
def test_quote_gives_the_same_prices(position: Position) -> None:
    """An isolated position through the assessment, with its margin to eight places and its prices on a fine tick."""
    money = Decimal(round(position.collateral * 10**8)) / 10**8
    held = Held(Decimal(int(position.side * position.quantity)), Decimal(1), rate=Decimal("0.1"), margin=money)
    row: dict[str, Any] = {"id": "P1", "expected": {}, "tolerance": 0}
    found = quote(document(row, [held], tick=Decimal("0.0000001")), "P1")["positions"][0]
    for key, price in (("bankruptcy_price", bankruptcy_price(position)),
                       ("liquidation_price", liquidation_price(position, RATE))):  # fmt: skip
        assert abs(Fraction(Decimal(found[key])) - price) <= Fraction(2, 10**7), key


def test_funding_moves_the_bankruptcy_price() -> None:
    received = Position(2, 10, 3, 1, funding=1)
    assert bankruptcy_price(received) == 8
    assert bankruptcy_price(Position(2, 10, 3, -1, funding=-1)) == 11


@pytest.mark.rule("EX-08")
@pytest.mark.parametrize(
    ("position", "mark", "quantity", "from_entry", "from_mark"),
    [
        (D, Fraction(98, 100), Fraction(4, 10), "0.045895", "0.0379"),
        (E, Fraction(105, 100), Fraction(1), "0.448990", "0.3990"),
        (D, Fraction(94, 100), Fraction(2, 10), "0.010947", "0.0000"),
    ],
)
def test_bad_debt_is_counted_from_the_entry(
    position: Position, mark: Fraction, quantity: Fraction, from_entry: str, from_mark: str
) -> None:
    """The paper moves the bankruptcy price along with the mark; `from_mark` is what it prints."""
    price = filled_price(mark, quantity, position.side, 1)
    moved = bankruptcy_price(position) + mark - position.entry
    assert places(shortfall(bankruptcy_price(position), price, quantity, position.side), 6) == from_entry
    assert places(shortfall(moved, price, quantity, position.side), 4) == from_mark


@pytest.mark.rule("EX-08")
def test_fees_and_the_first_haircut() -> None:
    binance = liquidation_fee(Fraction("1.30"), Fraction("1.32"), Fraction("0.5"), Fraction("0.0040"), 0)
    hyperliquid = liquidation_fee(
        Fraction("1.30"), Fraction("1.32"), Fraction("0.5"), Fraction("0.0020"), Fraction("0.0010")
    )
    assert (binance, hyperliquid) == (Fraction("0.0026"), Fraction("0.00196"))
    haircut = pro_rata(Fraction("0.705"), [Winner("all", Fraction("7.72"), Fraction("7.72"))]).shares["all"]
    assert places(haircut / Fraction("7.72"), 5) == "0.09132"


EQUITY = {"A": Fraction("0.163"), "C": Fraction("0.728"), "E": Fraction("0.109")}
LEVERAGE = {"A": Fraction("1.031"), "C": Fraction("0.925"), "E": Fraction("1.548")}


@pytest.mark.rule("EX-08")
@pytest.mark.parametrize(
    ("risk", "expected"),
    [
        (power(0), ("0.163", "0.728", "0.109")),
        (power(2), ("0.164", "0.589", "0.247")),
        (power(3), ("0.154", "0.497", "0.349")),
        (tail(Fraction(9, 10)), ("0.149", "0.114", "0.738")),
    ],
)
def test_risk_aware_shares(risk: Callable[[Exact], Exact], expected: tuple[str, ...]) -> None:
    """The paper prints (.164, .589, .246), (.155, .498, .348) and (.149, .114, .737), from leverages with more digits
    than it shows; these are the shares of the numbers that it shows."""
    winners = [Winner(name, equity, 10, leverage=LEVERAGE[name]) for name, equity in EQUITY.items()]
    found = risk_aware(1, winners, risk)
    assert tuple(places(share, 3) for share in found.shares.values()) == expected
    assert found.total() == 1


def exponential(amount: Fraction) -> Fraction:
    with localcontext(prec=40):
        return 1 - Fraction((-Decimal(amount.numerator) / Decimal(amount.denominator)).exp())


@pytest.mark.rule("EX-08")
def test_the_fund_that_costs_least() -> None:
    found = best_fund(exponential, Fraction(1, 100), 1, step=Fraction(1, 10**9), most=100)
    assert places(found, 6) == "4.605170"
    assert best_fund(exponential, 1, 1, step=1, most=100) == 0
    with pytest.raises(ValueError, match="does not reach"):
        best_fund(exponential, Fraction(1, 100), 1, step=1, most=4)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30), st.integers(1, 20), st.integers(1, 20))
def test_the_fund_of_a_sample_costs_least_of_all(deficits: list[int], cost: int, weight: int) -> None:
    def expense(fund: Exact) -> Fraction:
        return cost * Fraction(fund) + weight * Fraction(sum(max(0, d - fund) for d in deficits), len(deficits))

    found = best_fund_of(deficits, cost, weight)
    assert expense(found) == min(expense(fund) for fund in range(1001))
    step = best_fund(lambda x: Fraction(sum(d <= x for d in deficits), len(deficits)), cost, weight, most=1000)
    assert step == found


def test_the_fund_pays_first() -> None:
    assert fund_pays(10, 7) == (7, 3, 0)
    assert fund_pays(10, 17) == (10, 0, 7)


# What holds for any winners.

amounts = st.integers(0, 10**12)
leverages = st.integers(0, 1000).map(lambda hundredths: Fraction(hundredths, 100))


@st.composite
def winners_of(draw: st.DrawFn) -> list[Winner]:
    names = draw(st.lists(st.text("abcdefgh", min_size=1, max_size=4), unique=True, max_size=8))
    return [Winner(name, draw(amounts), draw(amounts), draw(st.integers(0, 5)), draw(leverages)) for name in names]


def all_rules(amount: int, winners: list[Winner]) -> list[Allocation]:
    capped = [queue(amount, winners), capped_pro_rata(amount, winners)]
    return [*capped, *(risk_aware(amount, winners, risk) for risk in (power(2), power(3), tail(Fraction(9, 10))))]


@pytest.mark.rule("EX-04")
@given(amounts, winners_of())
def test_shares_add_up_and_stay_below_their_caps(amount: int, winners: list[Winner]) -> None:
    caps = {winner.name: winner.cap for winner in winners}
    for found in all_rules(amount, winners):
        assert found.total() + found.left == amount
        assert set(found.shares) == set(caps)
        assert all(0 <= share <= caps[name] for name, share in found.shares.items())
        whole = whole_shares(found)
        assert sum(whole.values()) == found.total()
        assert all(0 <= share <= caps[name] for name, share in whole.items())
        assert all(abs(share - found.shares[name]) < 1 for name, share in whole.items())
    plain = pro_rata(amount, winners)
    assert plain.total() + plain.left == amount


@pytest.mark.rule("EX-04")
@given(amounts, winners_of())
def test_nothing_is_left_while_somebody_could_pay(amount: int, winners: list[Winner]) -> None:
    assert queue(amount, winners).left == max(0, amount - sum(winner.cap for winner in winners))
    able = sum(winner.cap for winner in winners if winner.equity)
    assert capped_pro_rata(amount, winners).left == max(0, amount - able)


@pytest.mark.rule("EX-04", "G-03")
@given(amounts, winners_of(), st.randoms())
def test_the_order_of_the_winners_changes_nothing(amount: int, winners: list[Winner], chance: Any) -> None:
    shuffled = list(winners)
    chance.shuffle(shuffled)
    for one, other in zip(all_rules(amount, winners), all_rules(amount, shuffled), strict=True):
        assert list(one.shares.items()) == list(other.shares.items())
        assert list(whole_shares(one).items()) == list(whole_shares(other).items())
    assert pro_rata(amount, winners) == pro_rata(amount, shuffled)


@pytest.mark.rule("EX-04")
@given(amounts, winners_of(), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_splitting_an_account_gains_nothing_under_capped_pro_rata(
    amount: int, winners: list[Winner], parts: list[int]
) -> None:
    if not winners:
        return
    one, *others = winners
    shares = [Fraction(part, sum(parts)) for part in parts]
    split = [Winner(f"{one.name}.{i}", one.equity * s, one.cap * s) for i, s in enumerate(shares)]
    whole, apart = capped_pro_rata(amount, winners), capped_pro_rata(amount, [*split, *others])
    assert sum(apart.shares[part.name] for part in split) == whole.shares[one.name]
    assert all(apart.shares[other.name] == whole.shares[other.name] for other in others)
    assert apart.left == whole.left


@pytest.mark.rule("EX-04")
def test_splitting_an_account_gains_something_in_a_queue() -> None:
    """Ranked by profit, the larger pays first; in halves it goes behind the other."""
    other = Winner("other", 60, 60, score=60)
    whole = queue(50, [Winner("one", 100, 100, score=100), other])
    apart = queue(50, [Winner("one.0", 50, 50, score=50), Winner("one.1", 50, 50, score=50), other])
    assert whole.shares["one"] == 50
    assert apart.shares["one.0"] + apart.shares["one.1"] == 0


@pytest.mark.rule("EX-04")
@given(amounts, winners_of(), st.integers(1, 1000))
def test_the_unit_of_money_changes_nothing(amount: int, winners: list[Winner], scale: int) -> None:
    larger = [Winner(w.name, w.equity * scale, w.cap * scale, w.score, w.leverage) for w in winners]
    for one, other in zip(all_rules(amount, winners), all_rules(amount * scale, larger), strict=True):
        assert {name: share * scale for name, share in one.shares.items()} == other.shares


@pytest.mark.rule("EX-04")
@given(amounts, winners_of())
def test_one_level_for_all_who_are_below_their_caps(amount: int, winners: list[Winner]) -> None:
    shares = capped_pro_rata(amount, winners).shares
    paying = [winner for winner in winners if winner.equity]
    levels = {shares[w.name] / w.equity for w in paying if shares[w.name] < w.cap}
    assert len(levels) <= 1
    assert all(w.cap / Fraction(w.equity) <= level for level in levels for w in paying if shares[w.name] == w.cap)


@pytest.mark.rule("EX-04")
@given(amounts, st.lists(st.integers(0, 10**9), min_size=1, max_size=20).filter(any))
def test_the_engine_apportions_as_pro_rata_does(amount: int, sizes: list[int]) -> None:
    named = {f"{i:02}": size for i, size in enumerate(sizes)}
    found = pro_rata(amount, [Winner(name, size, 0) for name, size in named.items()])
    assert apportion(amount, named) == whole_shares(found)


def test_equal_scores_are_ranked_by_name() -> None:
    found = queue(5, [Winner("b", 9, 3, 1), Winner("a", 9, 3, 1), Winner("c", 9, 3, 2)])
    assert found.shares == {"a": 2, "b": 0, "c": 3}
    assert found.left == 0


def test_remainders_go_to_the_largest_then_by_name() -> None:
    found = pro_rata(5, [Winner(name, 1, 9) for name in "cab"])
    assert whole_shares(found) == {"a": 2, "b": 2, "c": 1}
    with pytest.raises(ValueError, match="whole number"):
        whole_shares(pro_rata(Fraction(1, 2), [Winner("a", 1, 9)]))


@pytest.mark.parametrize(
    ("amount", "winners", "said"),
    [
        (-1, [], "zero or more"),
        (1, [Winner("a", -1, 1)], "a: equity"),
        (1, [Winner("a", 1, 1), Winner("b", 1, 1), Winner("a", 2, 1)], "a: stands twice"),
    ],
)
def test_what_cannot_be_shared(amount: int, winners: list[Winner], said: str) -> None:
    for rule in (queue, pro_rata, capped_pro_rata):
        with pytest.raises(ValueError, match=said):
            rule(amount, winners)


def test_a_fund_needs_deficits_and_costs() -> None:
    with pytest.raises(ValueError, match="no deficits"):
        best_fund_of([], 1, 2)
    with pytest.raises(ValueError, match="above zero"):
        best_fund_of([1], 0, 2)
    assert best_fund_of([math.comb(6, k) for k in range(7)], 1, 2) == 6
