"""The order and the filters of the desk's list over columns are those of all accounts' lines, worked out one by one."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.engine.bench import Desk
from tests.service.reports.books import mixed_book

from closeout.core.margin import MarginKind
from closeout.core.outlook import could_owe, shortfall
from closeout.core.units import RATE
from closeout.engine import commands as c
from closeout.engine import scan
from closeout.engine.state import State
from closeout.service import concentration, listing, views
from closeout.service.listing import Roster, Scans, Search, Wanted, parse
from closeout.studies import assessment

SORTS = ("usage", "account_id", "net_liq", "requirement", "excess", "owed", "unrealized_pnl", "notional")


def chosen(state: State, query: dict[str, Any], scans: Scans | None = None) -> tuple[list[str], int]:
    wanted = parse(urlencode(query), state)
    search = Search(wanted.search)
    for _ in search.extend(state.book):
        pass
    rows, matching = listing.select(state, wanted, search, scans or Scans(), Roster())
    return [state.book.ids[row] for row in rows], matching


def lines(desk: Desk) -> list[dict[str, Any]]:
    """Every account's line, in the order in which they were opened."""
    state = desk.state
    return views.summaries(state, sorted(views.rows_of(state)), desk.time)


def key(line: dict[str, Any], sort: str) -> Any:
    """What a line is sorted by, from its own words."""
    if sort == "account_id":
        return line[sort]
    if sort != "usage":
        return Decimal(line[sort])
    net_liq, requirement = Decimal(line["net_liq"]), Decimal(line["requirement"])
    if net_liq <= 0:
        return (float("inf") if line["usage"] == "over" else 0.0, requirement - net_liq)
    return (int(requirement * 10**6) / int(net_liq * 10**6), requirement - net_liq)


@pytest.mark.rule("US-03", "US-20")
@pytest.mark.parametrize("sort", SORTS)
def test_the_order_is_that_of_all_lines_sorted(sort: str) -> None:
    desk = mixed_book(3)
    found = lines(desk)
    for order in ("desc", "asc"):
        whole = sorted(found, key=lambda line: key(line, sort), reverse=order == "desc")
        ids = [line["account_id"] for line in whole]
        for n in (1, 7, 200):
            assert chosen(desk.state, {"sort": sort, "order": order, "n": n}) == (ids[:n], len(ids))
    standing = "asc" if sort in ("account_id", "excess") else "desc"
    assert chosen(desk.state, {"sort": sort}) == chosen(desk.state, {"sort": sort, "order": standing})


@pytest.mark.rule("US-03", "US-20")
def test_net_liq_at_or_below_zero_with_a_position_comes_first_and_who_holds_nothing_last() -> None:
    desk = mixed_book(4)
    ids, _ = chosen(desk.state, {"n": 200})
    found = {line["account_id"]: line for line in lines(desk)}
    ranks = [(found[name]["usage"] != "over") + (found[name]["requirement"] == "0.00") for name in ids]
    assert {0, 1, 2} == {*ranks}
    assert ranks == sorted(ranks)
    assert "in_debit" in found[ids[ranks.index(2)]]["flags"]  # debts stand before those who are merely flat


@pytest.mark.rule("US-20")
@pytest.mark.parametrize("seed", range(1, 4))
def test_filters_leave_what_the_lines_say(seed: int) -> None:
    desk, chance = mixed_book(seed), random.Random(seed)
    state, found = desk.state, lines(mixed_book(seed))
    book = state.book
    hit: set[str] = set()
    for _ in range(300):
        query: dict[str, Any] = {}
        left = found
        if chance.random() < 0.4:
            query["level"] = chance.choice(["normal", "alert", "liquidate_only", "liquidating"])
            left = [line for line in left if line["level"] == query["level"]]
        if chance.random() < 0.2:
            query["flag"] = chance.choice(["in_debit", "unpriced", "restricted"])
            left = [line for line in left if query["flag"] in line["flags"]]
        if chance.random() < 0.3:
            query["owner"] = chance.choice(["Ann", "Bob", "Nobody"])
            left = [line for line in left if line["owner"] == query["owner"]]
        if chance.random() < 0.4:
            query["contract"] = chance.choice(list(state.contracts))
            left = [line for line in left if query["contract"] in held(state, book.row[line["account_id"]])]
        if chance.random() < 0.4:
            query["search"] = chance.choice(["a1", "AN", "ob", "0", "d", "zz"])
            part = query["search"].lower()
            left = [line for line in left if part in line["account_id"].lower() or part in line["owner"].lower()]
        ids, matching = chosen(state, {"sort": "account_id", **query})
        assert ids == sorted(line["account_id"] for line in left)
        assert matching == len(left)
        hit |= set(query) if ids else set()
    assert hit == {"level", "flag", "owner", "contract", "search"}


def held(state: State, row: int) -> set[str]:
    return {line.holding.contract.name for part in views.parts(state, row) for line in part.lines}


@pytest.mark.rule("US-20")
def test_a_search_looks_at_each_account_once_and_finds_those_opened_later() -> None:
    desk = Desk()
    for name in ("Alpha", "beta", "gamma"):
        desk.done(c.OpenAccount(name, owner="Zoë ÄRGER" if name == "gamma" else ""))
    search = Search("ä".casefold())
    assert [*search.extend(desk.state.book)] == [None]
    desk.done(c.OpenAccount("delta", owner="Herr Ärmel"))
    everybody = listing.customers(desk.state.book)
    assert [desk.state.book.ids[row] for row in search.narrow(everybody).nonzero()[0]] == ["gamma"]
    assert [*search.extend(desk.state.book)] == [None]
    assert [desk.state.book.ids[row] for row in search.narrow(everybody).nonzero()[0]] == ["gamma", "delta"]
    assert [*search.extend(desk.state.book)] == []
    assert list(Search("").extend(desk.state.book)) == []


@pytest.mark.rule("US-20")
def test_queries_that_mean_the_same_are_written_the_same() -> None:
    state = mixed_book(1).state
    one = parse("level=alert&search=Ann+%26+Co&sort=owed", state)
    assert one == parse("sort=owed&order=desc&n=200&search=ann%20%26%20co&level=alert", state)
    assert one.text == parse("sort=owed&order=desc&n=200&search=ann%20%26%20co&level=alert", state).text
    assert parse("", state) == Wanted(sort="usage", order="desc")
    assert parse(one.text, state) == one
    for query, words in (
        ("sort=luck", "sort"), ("order=up", "order"), ("level=", "level"), ("flag=tall", "flag"), ("n=0", "n"),
        ("n=201", "n"), ("n=many", "n"), ("contract=NONE", "NONE"), ("colour=red", "colour"), ("sort", "bad query"),
        ("n=1&n=2", "twice"), ("search=%ff", "decode"), ("owner=", "owner"),
        (f"search={'x' * 129}", "search"), ("&", "bad query"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            parse(query, state)


# -- an account's line ---------------------------------------------------------------------------------


@pytest.mark.rule("US-03", "US-18", "US-27")
def test_what_a_line_says_beside_usage() -> None:
    desk = mixed_book(2)
    state, policy = desk.state, desk.state.policy
    ahead, owing = 0, 0
    for line in lines(desk):
        row = state.book.row[line["account_id"]]
        members = views.parts(state, row)
        document = views.account_assessment(state, line["account_id"], desk.time)
        net_liq = Decimal(document["net_liq"])
        assert Decimal(line["excess"]) == net_liq - Decimal(document["requirement"])
        assert Decimal(line["excess_initial_margin"]) == net_liq - Decimal(document["initial_margin"])
        assert Decimal(line["excess_intraday_margin"]) == net_liq - Decimal(document["intraday_margin"])
        assert Decimal(line["notional"]) == sum(Decimal(one["notional"]) for one in document["positions"])
        assert Decimal(line["unrealized_pnl"]) == sum(Decimal(one["unrealized_pnl"]) for one in document["positions"])
        following = assessment.next_windows(policy, assessment.sessions_of(members), desk.time)
        if following is None:
            assert line["excess_at_switch"] is None
        else:
            then = [part.account(following[1]) for part in members]
            required = sum(holding.requirement for account in then for holding in account.holdings)
            now = sum(part.risk(policy.net_liq_floor).net_liq for part in members)
            assert line["excess_at_switch"] == policy.currency.text(now - required)
            ahead += 1
        cross, *isolated = [part.account() for part in members]
        worst = max(
            could_owe(cross, isolated, move, policy.net_liq_floor, -1)  # the accounts say what their close-outs cost
            for move in (-RATE // 10, RATE // 10)
        )
        assert line["could_owe_10_percent"] == policy.currency.text(worst)
        owing += worst > 0
    assert ahead
    assert owing


@pytest.mark.rule("US-20")
def test_the_totals_are_the_sums_of_all_accounts_and_their_isolated_positions() -> None:
    desk = mixed_book(2)
    state, text = desk.state, desk.state.policy.currency.text
    own = [row for name, row in state.book.row.items() if name != "suspense"]
    risks = [state.risk(row) for row in own]
    found = views.totals(state, desk.time, Scans())
    assert found["net_liq"] == text(sum(risk.net_liq for risk in risks))
    assert found["requirement"] == text(sum(risk.requirement for risk in risks))
    profit = sum(holding.profit for row in own for holding in state.holdings(row))
    assert found["open_trade_equity"] == text(profit)


@pytest.mark.rule("US-20")
def test_the_book_is_scanned_once_for_each_input(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, scans, counted = Desk(), Scans(), 0
    levels = scan.levels

    def counting(state: State) -> Any:
        nonlocal counted
        counted += 1
        return levels(state)

    desk.account("A1", "1000")
    monkeypatch.setattr(scan, "levels", counting)
    for _ in range(3):
        chosen(desk.state, {}, scans)
        views.totals(desk.state, desk.time, scans)
        views.riskiest_rows(desk.state, 5, scans)
    assert counted == 1
    monkeypatch.setattr(scan, "levels", levels)
    desk.deposit("A1", "500")
    assert views.totals(desk.state, desk.time, scans)["net_liq"] == "1500.00"


# -- concentration -------------------------------------------------------------------------------------


@pytest.mark.rule("US-28")
@pytest.mark.parametrize("seed", range(1, 4))
def test_concentration_is_what_the_accounts_hold(seed: int) -> None:
    desk = mixed_book(seed)
    state, found = desk.state, lines(desk)
    document = concentration.document(state, 200, desk.time, Scans(), Roster())
    gross = sum(Decimal(line["notional"]) for line in found)
    owners: dict[str, list[dict[str, Any]]] = {}
    for line in found:
        owners.setdefault(line["owner"] or line["account_id"], []).append(line)
    owners = {name: its for name, its in owners.items() if any(Decimal(line["notional"]) for line in its)}
    assert {row["owner"] or row["account_id"] for row in document["owners"]} == set(owners)
    sizes = [Decimal(row["notional"]) for row in document["owners"]]
    assert sizes == sorted(sizes, reverse=True)
    for row in document["owners"]:
        its = owners[row["owner"] or row["account_id"]]
        assert row["accounts"] == len(its)
        assert row["account_id"] == (its[0]["account_id"] if len(its) == 1 else None)
        for name in ("net_liq", "requirement", "notional", "owed"):
            assert Decimal(row[name]) == sum(Decimal(line[name]) for line in its)
        assert 0 <= Decimal(row["share"]) - Decimal(row["notional"]) / gross < Decimal("2e-9")
    positions = [
        (line["account_id"], position)
        for line in found
        for position in views.account_assessment(state, line["account_id"], desk.time)["positions"]
    ]
    assert {row["contract"] for row in document["contracts"]} == {one["contract"] for _, one in positions}
    for row in document["contracts"]:
        its = [(name, one) for name, one in positions if one["contract"] == row["contract"]]
        assert Decimal(row["long"]) == sum(max(0, Decimal(one["quantity"])) for _, one in its)
        assert Decimal(row["short"]) == -sum(min(0, Decimal(one["quantity"])) for _, one in its)
        assert row["holders"] == len({name for name, _ in its})
        by_account: dict[str, Decimal] = {}
        for name, one in its:
            by_account[name] = by_account.get(name, Decimal(0)) + Decimal(one["notional"])
        whole = sum(by_account.values())
        assert Decimal(row["long_notional"]) + Decimal(row["short_notional"]) == whole
        largest = row["largest"]
        assert Decimal(largest["notional"]) == max(by_account.values()) == by_account[largest["account_id"]]
        quantity = sum(Decimal(one["quantity"]) for name, one in its if name == largest["account_id"])
        assert Decimal(largest["quantity"]) == quantity
        assert 0 <= Decimal(largest["share"]) - Decimal(largest["notional"]) / whole < Decimal("2e-9")
    sizes = [Decimal(row["long_notional"]) + Decimal(row["short_notional"]) for row in document["contracts"]]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.rule("US-28")
@pytest.mark.rule("US-27")
@pytest.mark.parametrize("seed", range(4))
def test_who_is_short_at_the_switch_is_who_would_be_judged_so_one_by_one(seed: int) -> None:
    """Under each window for all sessions; the largest shortfall first."""
    state = mixed_book(seed).state
    floor = state.policy.net_liq_floor
    for window in state.policy.windows.values():
        windows = dict.fromkeys(state.policy.sessions, window)
        slow: dict[int, int] = {}
        for row in range(state.book.count):
            (part, *_) = views.parts(state, row)
            account = part.account(windows)
            if account.holdings and (short := shortfall(account, floor)):
                slow[row] = short
        found = views.short_rows(state, windows)
        assert found == slow
        assert list(found) == sorted(found, key=lambda row: (-slow[row], state.book.ids[row]))
        assert slow or window.requirement is MarginKind.INTRADAY


def test_nobody_holds_anything() -> None:
    desk = Desk()
    desk.account("A1", "10")
    document = concentration.document(desk.state, 10, desk.time, Scans(), Roster())
    assert (document["contracts"], document["owners"]) == ([], [])
