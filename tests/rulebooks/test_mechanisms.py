"""Close-outs and waterfalls that can never do what they say, or have keys that nobody reads, are refused by the key."""

from typing import Any

import pytest

from closeout.core.units import InputError
from closeout.rulebooks.loader import load
from closeout.rulebooks.policy import CloseOutPolicy, Stage

FLATTEN = {"method": "flatten_all"}
BANKRUPT = {**FLATTEN, "limit": "bankruptcy"}
LOWER: dict[str, Any] = {"method": "lower_tier", "limit": "bankruptcy"}
SHARES = {"method": "reduce_by_share", "share": "0.2", "share_above": "5", "interval_seconds": 3, "limit": "any_price"}
VENUE = {"stage": "venue_bears"}
ADL = {"stage": "auto_deleveraging", "ranking": "leveraged_return"}


def built(close_out: dict[str, Any], *stages: dict[str, Any]) -> tuple[CloseOutPolicy, tuple[Stage, ...]]:
    policy = load("reference", {"close_out": close_out, "waterfall": [*stages, VENUE]}).policy()
    return policy.close_out, policy.waterfall


def refusal(close_out: dict[str, Any], *stages: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        built(close_out, *stages)
    return str(caught.value).removeprefix("reference.toml with overrides: ")


@pytest.mark.rule("EX-01", "EX-02")
@pytest.mark.parametrize("close_out", [FLATTEN, {**SHARES, "limit": "none"}, {**BANKRUPT, "then": [FLATTEN]}])
@pytest.mark.parametrize("stage", [ADL, {"stage": "unwind"}, {"stage": "liquidity_providers", "capacity": "5"}])
def test_stages_that_take_positions_can_be_reached(close_out: dict[str, Any], stage: dict[str, Any]) -> None:
    assert refusal(close_out, stage) == (
        "waterfall[0].stage: expected a limit in close_out's last step, or close_out.take_over_below: without either "
        f"nothing comes to {stage['stage']}"
    )
    built({**close_out, "take_over_below": "0"}, stage)
    built({**SHARES, "then": [BANKRUPT]}, stage)
    built(close_out)  # without such stages each of these is good


@pytest.mark.rule("EX-01", "EX-02")
@pytest.mark.parametrize(
    ("close_out", "index"),
    [({**FLATTEN, "then": [BANKRUPT]}, 0), ({**BANKRUPT, "then": [FLATTEN, BANKRUPT]}, 1)],
)
def test_nothing_follows_a_step_that_works_until_it_is_filled(close_out: dict[str, Any], index: int) -> None:
    message = "expected a limit in the step before it, which works until it is filled"
    assert refusal(close_out) == f"close_out.then[{index}]: {message}"


@pytest.mark.rule("EX-01", "EX-02")
@pytest.mark.parametrize(
    ("given", "reader", "default"),
    [
        ({"share": "0.2"}, "method reduce_by_share", "1"),
        ({"share_above": "5"}, "method reduce_by_share", "0"),
        ({"interval_seconds": 3}, "method reduce_by_share", "0"),
        ({"whole_within_seconds": 3}, "method reduce_by_share", "0"),
        ({"tiers_down": 2}, "method lower_tier", "1"),
        ({"bankruptcy_adjustment": "2"}, "limit fillable", "1"),
        ({"spread_to_maintenance": "0.2"}, "limit fillable", "0.1"),
    ],
)
def test_a_step_has_no_key_that_its_method_or_limit_does_not_read(
    given: dict[str, Any], reader: str, default: str
) -> None:
    (key,) = given
    message = f"{key}: expected it with {reader} only, else its default {default}"
    assert refusal({**BANKRUPT, **given}) == f"close_out.{message}"
    assert refusal({**BANKRUPT, "then": [BANKRUPT, {**BANKRUPT, **given}]}) == f"close_out.then[1].{message}"
    built({**(SHARES if key != "tiers_down" else LOWER), "limit": "fillable", **given})
    built({**BANKRUPT, key: type(given[key])(default)})  # as a variant of the other method says it


DOWN = {**ADL, "drawdown": "0.3", "drawdown_hours": 8}


@pytest.mark.rule("EX-01", "EX-04")
@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({**ADL, "price": "drawdown"}, "price: expected waterfall[0].drawdown beside the price drawdown"),
        ({**ADL, "drawdown_hours": 8}, "drawdown_hours: expected waterfall[0].drawdown beside it"),
        ({**ADL, "drawdown": "0.3"}, "drawdown: expected waterfall[0].drawdown_hours beside it"),
        (DOWN, "drawdown: expected a table [insurance_fund] beside it"),
        ({**DOWN, "stage": "unwind", "ranking": None}, "drawdown: expected it with auto_deleveraging only"),
    ],
)
def test_a_drawdown_has_all_that_it_needs(stage: dict[str, Any], message: str) -> None:
    assert refusal(BANKRUPT, stage) == f"waterfall[0].{message}"


PROVIDERS: dict[str, Any] = {"stage": "liquidity_providers", "equity": "100"}
OF_EQUITY: dict[str, Any] = {**PROVIDERS, "share_of_equity": "0.15", "within_seconds": 300}


@pytest.mark.rule("EX-01", "EX-05")
@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{**OF_EQUITY, "equity": None}], "[0].equity: expected what the takers begin with"),
        ([{**PROVIDERS, "equity": None, "capacity_of_equity": "2"}], "[0].equity: expected what the takers begin with"),
        (
            [{**PROVIDERS, "within_seconds": 9}],
            "[0].share_of_equity: expected within_seconds beside it, and neither alone",
        ),
        ([OF_EQUITY, OF_EQUITY], "[0].equity: expected one stage liquidity_providers, whose equity it is"),
        ([{**PROVIDERS, "stage": "backstop_vault"}], "[0].equity: expected it with liquidity_providers only"),
        ([{**OF_EQUITY, "within_seconds": 0}], "[0].within_seconds: expected a whole number from 1 to 86400, got 0"),
    ],
)
def test_an_equity_has_all_that_it_needs(stages: list[dict[str, Any]], message: str) -> None:
    assert refusal(BANKRUPT, *stages) == f"waterfall{message}"
    assert built(BANKRUPT, OF_EQUITY)[1][0].within == 300 * 10**9


@pytest.mark.rule("EX-01", "EX-04")
@pytest.mark.parametrize("stage", [ADL, {"stage": "unwind"}, {"stage": "liquidity_providers"}])
def test_a_seed_is_for_ranking_at_random(stage: dict[str, Any]) -> None:
    assert refusal(BANKRUPT, {**stage, "seed": 4}) == "waterfall[0].seed: expected it with ranking random only"
    assert built(BANKRUPT, {**ADL, "ranking": "random", "seed": 4})[1][0].seed == 4


@pytest.mark.rule("EX-01", "G-15")
def test_what_a_dated_version_gives_up_is_not_shown() -> None:
    """`kraken-linear:2025` closes everything: the share of its base is gone, not an assumption about it."""
    table = load("kraken-linear:2025").table.close_out
    assert (table.method, table.share, table.then, table.assumed) == ("flatten_all", "1", [], ["limit"])
