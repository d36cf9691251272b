"""The engine and the auditor agree on every input of many streams, and the streams go where it matters."""

import ast
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from tests.model.rulebooks import SETTINGS, Setting
from tests.model.rulebooks_waterfall import HEDGED, SPECIAL, WATERFALLS
from tests.model.side_by_side import run
from tests.model.streams import streams

from closeout.engine import commands

STREAMS = 360
WATERFALL_STREAMS = 220
RARE = (340,)
"""Streams in which an account drops two tiers at once."""
SPECIAL_STREAMS = 120
HEDGED_STREAMS = 150
HEDGED_RARE = (273,)
"""Streams in which one account is closed against two places of another."""
LENGTH = 150

AT_LEAST_100 = """
    liquidation, close-out order, close-out fill whole, close-out fill partial, partial close, queued, deficit,
    receivable payment, receivable settled, deposit into debt, restricted after liquidation, ended without a fill,
    close-out order done with a remainder, funding accrued, funding booked, settled position, debt aged,
    fill repriced, fill busted, cash adjusted, rounding, fill below zero, surplus to the parent,
    shortfall from the parent, the parent owes, suspense fill, mark jump, mark missing, held below the line, held back,
    reopened beside orders,
    order approved, order margin, order liquidating, order in_debit, order locked, order mark_grade, reducing order,
    rejected needs_second, rejected exceeds_withdrawable, rejected duplicate_input, rejected gap_in_inputs,
    rejected time_ran_back, rejected expired_contract, margin raised,
    normal to alert, normal to liquidating, alert to liquidating, liquidating to normal,
    liquidation after Marks, liquidation after Fill, liquidation after TransferPosition,
    order disclosure, order stopped, order liquidate_only, order reconciliation_break, stop lifted,
    margin call issued, margin call aged, margin call met, margin call closed,
    release begins, release ends, reconciliation break
"""
AT_LEAST_30 = """
    order order_size, order position_limit, fewer lots suggested, own close-out, own brake held back,
    capital charge, margin raised alone, queued: held by the desk, limits loosened, release replaced
"""
REACHED = """
    order price_collar, order group_limit, order margin_call_overdue, position limit of the owner,
    group_limit of the owner's group, unpriced of the owner's group,
    stopped by daily loss limit, stopped by weekly loss limit, stopped by trailing drawdown,
    stopped by flatten time, flatten with a position, flatten without a position,
    own close-out after Marks, own close-out ended,
    stopped with a liquidation, stopped when a liquidation ends, a new week counts anew, brakes set again,
    begun release cut short, release withdrawn, news lowered by hand, news windows overlap,
    reconciled, thawed, stale mark told, holder told of desk_alert, holder told of expiry_warning,
    firm hold, firm release_hold, firm lock, firm unlock, firm liquidate_only, firm release_liquidate_only, firm kill,
    firm alert, product hold, product release_hold, product lock, product unlock, product liquidate_only,
    product release_liquidate_only, product kill, product alert, kill switch cancels orders,
    rejected needs_name, rejected stopped, rejected isolated_account, rejected bad_time, rejected date_ran_back,
    rejected disclosure_version, rejected unknown_scope, rejected unknown_release, rejected unknown_review,
    rejected reconciliation_break,
    write-off, working orders cancelled, expiry cancels orders, expiry ends close-out orders, desk liquidates,
    margin lowered, liquidate_only to liquidating, count restored, overfill, fill that does not fit,
    order liquidate_only, order debit_overdue, order unpriced, order unknown_account, order unknown_contract,
    order expired_contract, order zero_quantity, order out_of_bounds, order duplicate_order,
    rejected no_rulebook, rejected rulebook_loaded, rejected unknown_account, rejected unknown_contract,
    rejected unknown_order, rejected unknown_fill, rejected unknown_session, rejected unknown_window,
    rejected unknown_action, rejected unknown_status, rejected no_receivable, rejected exceeds_receivable,
    rejected duplicate_account, rejected duplicate_fill, rejected zero_quantity, rejected out_of_bounds,
    rejected contract_twice, rejected in_debit, rejected unpriced, rejected flat,
    liquidation after SessionChange, liquidation after NewsWindow, liquidation after SetMargin,
    interval shortened, interval as short as it gets, interval restored, calm interval, interval not calm,
    funding from the balance: all, funding from the balance: a part, funding from the balance: nothing,
    liquidation after AccrueFunding, liquidation after DeskAction, liquidation after AdjustCash,
    liquidation after CorrectFill, liquidation after Expire, level change after Deposit, level change after Withdraw
"""

IN_WATERFALLS_AT_LEAST_30 = """
    limit any_price, limit bankruptcy, limit fillable, immediate-or-cancel order left something, next step,
    behind the last step, last step rests, all of a small position, share closed, no lower tier,
    what nobody took goes to the market, over at once, touched by another's close-out,
    fee by rate, fee by rate capped, fee by rate to the fund,
    insurance_fund_takes pays, backstop_vault takes over what is left,
    insolvent account not taken, no room, winner is being closed out, nobody on the other side,
    auto_deleveraging pays, auto_deleveraging at zero, not handed over while a leg is badly marked,
    auto_deleveraging of a part, auto_deleveraging return_times_leverage at previous_mark, unwind  at bankruptcy,
    unwind pays, insurance_fund pays, the fund is empty, socialised_loss pays, socialised among balances,
    socialised among days_winners, withdrawal_haircut pays
"""
IN_WATERFALLS = """
    to the lower tier, two tiers down, fee of what is left, share not due yet, surplus to the fund, fund made whole,
    insurance_fund_takes takes over what is left, liquidity_providers takes over what is left,
    auto_deleveraging leveraged_return at bankruptcy, auto_deleveraging profit_times_margin_ratio at mark,
    auto_deleveraging random at bankruptcy, auto_deleveraging of several, ranked by return / leverage,
    unwind of several, unwind of a part, unwind takes over what is left, winner would be below zero,
    auto_deleveraging beyond the deficit, the fund's positions have lost, funding kept back,
    socialised among positions, sharer has too little, nobody to share with among balances,
    nobody to share with among days_winners, nobody to share with among positions, withdrawal haircut,
    all of it after a part, a part anew, the fund is not down enough, the fund is down,
    auto_deleveraging leveraged_return at drawdown, rejected withdrawals_gated, below zero beside a guess,
    a share of the notional stays, used up for now, used anew,
    liquidity_providers pays, no room for all of it, venue_bears pays, deficit, own close-out, desk liquidates
"""

WITH_LEGS_AT_LEAST_20 = """
    closed against a leg, order wrong_leg, rejected wrong_leg, rejected leg, funding of a leg,
    auto_deleveraging pays, unwind  at bankruptcy, liquidation after Marks, settled position, release begins
"""


def listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


@pytest.fixture(scope="module")
def reached() -> Counter[str]:
    """What the streams reached, every input having been compared."""
    total: Counter[str] = Counter()
    for seed in range(STREAMS):
        total += run(Random(seed), SETTINGS[seed % len(SETTINGS)], LENGTH)[1]
    return told(total)


def told(total: Counter[str]) -> Counter[str]:
    for name, count in sorted(total.items()):
        print(f"{count:7d} {name}")
    return total


@pytest.mark.rule(
    "G-01", "G-02", "G-04", "G-06", "G-07", "G-08", "G-09", "G-10", "G-13", "G-14", "G-18", "G-19",
    "US-01", "US-02", "US-04", "US-06", "US-07", "US-08", "US-09", "US-10", "US-12", "US-13", "US-14", "US-15",
    "US-16", "US-17", "US-18", "US-20", "US-21", "US-23", "US-24", "US-25", "US-26", "US-28",
)  # fmt: skip
def test_engine_equals_auditor_wherever_it_matters(reached: Counter[str]) -> None:
    for names, least in ((AT_LEAST_100, 100), (AT_LEAST_30, 30)):
        assert {name: reached[name] for name in listed(names) if reached[name] < least} == {}
    assert [name for name in listed(REACHED) if not reached[name]] == []


def test_every_kind_of_command_is_accepted_somewhere(reached: Counter[str]) -> None:
    kinds = [kind.__name__ for kind in commands.Command.__subclasses__()]
    assert len(kinds) >= 38
    assert [kind for kind in kinds if not reached[kind]] == []


@pytest.mark.rule("G-02", "G-07", "G-08", "G-10", "G-12", "G-13", "EX-02", "EX-03", "EX-04", "EX-05")
def test_engine_equals_auditor_in_every_stage_of_the_waterfall() -> None:
    """Every step, limit, ranking, price and way of sharing, with whom each leaves out, reached and agreed upon."""
    total: Counter[str] = Counter()
    for seed in (*range(WATERFALL_STREAMS), *RARE):
        total += run(Random(seed), WATERFALLS[seed % len(WATERFALLS)], LENGTH)[1]
    for seed in range(SPECIAL_STREAMS):
        total += run(Random(seed), SPECIAL[seed % len(SPECIAL)], LENGTH)[1]
    told(total)
    assert {name: total[name] for name in listed(IN_WATERFALLS_AT_LEAST_30) if total[name] < 30} == {}
    assert [name for name in listed(IN_WATERFALLS) if not total[name]] == []


@pytest.mark.rule("G-02", "G-07", "G-12", "EX-02", "EX-04")
def test_engine_equals_auditor_with_both_legs_of_a_contract() -> None:
    total: Counter[str] = Counter()
    for seed in (*range(HEDGED_STREAMS), *HEDGED_RARE):
        total += run(Random(seed), HEDGED[seed % len(HEDGED)], LENGTH)[1]
    told(total)
    assert {name: total[name] for name in listed(WITH_LEGS_AT_LEAST_20) if total[name] < 20} == {}
    assert total["closed against two places of one"]


@pytest.mark.rule("G-03", "G-09")
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(streams())
def test_engine_equals_auditor(stream: tuple[Random, Setting]) -> None:
    run(*stream, 40)


def test_the_auditor_is_independent() -> None:
    """Neither the auditor nor what it imports, however far, imports the package under test."""
    folder = Path(__file__).parent
    seen: set[str] = set()
    queue = ["auditor"]
    while queue:
        name = queue.pop()
        seen.add(name)
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                modules = [node.module or ""]
            else:
                modules = []
            for module in modules:
                assert module.split(".")[0] != "closeout", f"{name} imports {module}"
                if module.startswith("tests."):
                    package, _, helper = module.rpartition(".")
                    assert package == "tests.model"
                    queue += [helper] if helper not in seen else []
    parts = "brakes calls desk fractions funding limits market money orders rules state steps trades waterfall"
    assert seen == {"auditor", *(f"auditor_{part}" for part in parts.split())}
