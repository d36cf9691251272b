"""Account files: what is read and refused, and the commands that an account becomes under a rulebook."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from closeout.core.contracts import Contract, Kind
from closeout.core.units import USD, InputError
from closeout.engine.commands import Deposit, OpenAccount, TransferPosition
from closeout.rulebooks.policy import (
    CloseOutMethod,
    CloseOutPolicy,
    CloseOutStep,
    ContractPolicy,
    LiquidationFee,
    MarkPolicy,
    Policy,
    ReceivablePolicy,
    Stage,
    StageKind,
)
from closeout.studies.accounts import AccountFile, load_accounts, parse_account, to_commands, write_accounts


def contract(name: str, tick: str, lot: str, size: str, kind: Kind = Kind.LINEAR, negative: bool = False) -> Contract:
    return Contract.define(
        name,
        kind=kind,
        currency=USD,
        tick=Decimal(tick),
        lot=Decimal(lot),
        contract_size=Decimal(size),
        negative_prices=negative,
    )


def policy(*contracts: tuple[Contract, tuple[str, ...]]) -> Policy:
    """A rulebook of which only the contracts matter here."""
    return Policy(
        name="test",
        version="1",
        digest="",
        currency=USD,
        contracts={own.name: ContractPolicy(own, (), None, 0, stands_for) for own, stands_for in contracts},
        sessions={},
        windows={},
        opening_window="always",
        net_liq_floor=None,
        close_out=CloseOutPolicy((CloseOutStep(CloseOutMethod.FLATTEN_ALL),), 0),
        waterfall=(Stage(StageKind.CUSTOMER_OWES),),
        insurance_fund=None,
        liquidation_fee=LiquidationFee(),
        restrict_after_liquidation=False,
        news_multiplier=0,
        news_held=False,
        marks=MarkPolicy(0, 0, 0),
        receivable=ReceivablePolicy(0, 0),
    )


COINS = policy(
    (contract("BTCUSDT", "0.01", "0.0001", "1"), ()),
    (contract("ETHUSDT", "0.01", "0.0001", "1"), ()),
    (contract("CL", "0.01", "1", "1000", negative=True), ()),
)
CONTRACTS = policy(
    (contract("PBTC", "5", "1", "0.01"), ("BTCUSDT",)),
    (contract("PETH", "0.5", "1", "0.5"), ("ETHUSDT",)),
    (contract("XBTUSD", "0.5", "1", "1", Kind.INVERSE), ("XBT",)),
)
POSITION = {"contract": "BTCUSDT", "quantity": "0.1", "entry_price": "116830.30"}


def account(*positions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"account_id": "A1", "cash": "1000", "positions": list(positions) or [POSITION], **fields}


def parse(*positions: dict[str, Any], **fields: Any) -> AccountFile:
    return parse_account(account(*positions, **fields), "a.jsonl: line 3")


# Reading


def test_a_whole_account() -> None:
    isolated = POSITION | {"leverage": "25", "margin_mode": "isolated", "isolated_margin": 500}
    settings = {"validate_with_intraday": False}
    read = parse(isolated, settings=settings, opened_at="2025-10-10T20:50:00Z", owner="O1")
    assert (read.account_id, read.cash, read.owner, read.where) == ("A1", 1000, "O1", "a.jsonl: line 3")
    assert not read.settings.validate_with_intraday
    assert read.opened_at == 1_760_129_400 * 10**9
    (position,) = read.positions
    assert (position.quantity, position.entry_price) == (Decimal("0.1"), Decimal("116830.30"))
    assert (position.leverage, position.margin_mode, position.isolated_margin) == (25, "isolated", 500)
    assert parse().settings.validate_with_intraday
    assert parse(opened_at=1_760_129_400_000).opened_at == read.opened_at


def test_written_accounts_are_read_back(tmp_path: Path) -> None:
    accounts = [
        parse(POSITION | {"leverage": "25"}, opened_at=1_760_129_400),
        parse(account_id="A2", settings={"validate_with_intraday": False}, owner="O", cash="0.000001"),
        parse(account_id="A3", positions=[], cash=0),
    ]
    path = tmp_path / "accounts.jsonl"
    write_accounts(path, accounts)
    again = load_accounts(path)
    assert [msgspec.structs.replace(one, where="") for one in again] == [
        msgspec.structs.replace(one, where="") for one in accounts
    ]
    assert [one.where for one in again] == [f"{path}: line {number}" for number in (1, 2, 3)]
    assert '"cash":"0.000001"' in path.read_text()
    assert "where" not in path.read_text()


def position(**fields: Any) -> dict[str, Any]:
    return account(POSITION | fields)


BAD: list[tuple[Any, tuple[str, ...]]] = [
    ([], ("JSON object",)),
    (account(cahs="1"), ("unknown field", "cahs")),
    (account(where="x"), ("unknown field", "where")),
    (position(side="long"), ("positions[0]", "unknown field", "side")),
    (account(settings={"toggle": True}), ("settings", "unknown field", "toggle")),
    ({"account_id": "A1", "positions": []}, ("missing", "cash")),
    (account({"contract": "BTCUSDT", "quantity": "1"}), ("positions[0]", "missing", "entry_price")),
    (account(cash=1000.5), ("cash", "1000.5", "write it as a string")),
    (position(quantity=0.1), ("positions[0].quantity", "write it as a string")),
    (account(cash="much"), ("cash", "decimal")),
    (account(cash="NaN"), ("cash", "finite")),
    (account(cash=True), ("cash", "decimal")),
    (account(cash=None), ("cash", "decimal")),
    (account(cash="-1"), ("cash", "zero or more", "-1")),
    (account(cash="1e30"), ("cash", "10^15")),
    (account(account_id=""), ("account_id", "1 to 128")),
    (account(account_id="A/B"), ("account_id", "'/'")),
    (account(account_id=7), ("account_id", "str")),
    (account(opened_at="2025-10-10"), ("opened_at", "zone")),
    (account(opened_at=12), ("opened_at", "1973")),
    (position(quantity="0"), ("positions[0].quantity", "above or below zero")),
    (position(quantity="Infinity"), ("positions[0].quantity", "finite")),
    (position(entry_price="sNaN"), ("positions[0].entry_price", "finite")),
    (position(leverage="0"), ("positions[0].leverage", "from 0.1")),
    (position(leverage="1001"), ("positions[0].leverage", "1000")),
    (position(margin_mode="both"), ("positions[0].margin_mode", "'both'", "cross or isolated")),
    (position(margin_mode="isolated"), ("positions[0].isolated_margin", "leverage")),
    (position(isolated_margin="1"), ("positions[0].isolated_margin", "cross")),
    (position(margin_mode="isolated", isolated_margin="0"), ("positions[0].isolated_margin", "above zero")),
]


@pytest.mark.parametrize(("obj", "words"), BAD)
def test_a_bad_account(tmp_path: Path, obj: Any, words: tuple[str, ...]) -> None:
    path = tmp_path / "accounts.jsonl"
    path.write_text(f"{json.dumps(account(account_id='A0'))}\n\n{json.dumps(obj)}\n")
    with pytest.raises(InputError) as caught:
        load_accounts(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: line 3: ")
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("empty",)),
        ("\n\n", ("empty",)),
        ('{"account_id": "A1", "cash": NaN}', ("line 1", "JSON")),
        (f"{json.dumps(account())}\n{{", ("line 2", "JSON")),
        (f"{json.dumps(account())}\n\n{json.dumps(account())}\n", ("line 3", "account_id", "A1", "line 1 already")),
    ],
)
def test_a_bad_file(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    path = tmp_path / "accounts.jsonl"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_accounts(path)
    assert [word for word in (str(path), *words) if word not in str(caught.value)] == []


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.jsonl: cannot be read"):
        load_accounts(tmp_path / "no.jsonl")


# Commands


def test_a_cross_account_in_coins() -> None:
    twice = [POSITION | {"leverage": "25"}, POSITION | {"quantity": "0.2", "entry_price": "100000.005"}]
    assert to_commands(parse(*twice, cash="1000.5", owner="O"), COINS) == [
        OpenAccount("A1", owner="O", leverage={"BTCUSDT": 25 * 10**9}),
        Deposit("A1", 1_000_500_000),
        # a tick of a lot is 0.000001: one unit
        TransferPosition("A1", "BTCUSDT", 1000, 11_683_030_000, last=False),
        TransferPosition("A1", "BTCUSDT", 2000, 20_000_001_000),
    ]


def test_without_cash_nothing_is_deposited() -> None:
    settings = {"validate_with_intraday": False}
    commands = to_commands(parse(cash="0", settings=settings), COINS)
    assert commands == [
        OpenAccount("A1", validate_with_intraday=False),
        TransferPosition("A1", "BTCUSDT", 1000, 11_683_030_000),
    ]


def test_a_market_that_stands_in() -> None:
    """0.1 BTC are 10 contracts of 0.01 BTC, worth the same; -1.5 ETH are 3 contracts of 0.5."""
    ether = {"contract": "ETHUSDT", "quantity": "-1.5", "entry_price": "4000"}
    _, _, btc, eth = to_commands(parse(POSITION, ether), CONTRACTS)
    assert isinstance(btc, TransferPosition)
    assert isinstance(eth, TransferPosition)
    assert (btc.contract, btc.lots, eth.contract, eth.lots) == ("PBTC", 10, "PETH", -3)
    for command, value in ((btc, Decimal("11683.03")), (eth, Decimal(-6000))):
        own = CONTRACTS.contracts[command.contract].contract
        assert command.cost == value * 10**6 * own.units_per_micro
    direct = to_commands(parse(POSITION | {"contract": "PBTC", "quantity": "10"}), CONTRACTS)
    assert direct[2] == msgspec.structs.replace(btc, last=True)


def test_isolated_positions_are_accounts_of_their_own() -> None:
    isolated = POSITION | {"margin_mode": "isolated"}
    given = isolated | {"isolated_margin": "467.33"}
    reckoned = isolated | {"contract": "ETHUSDT", "quantity": "-0.0001", "entry_price": "100", "leverage": "3"}
    cross = POSITION | {"quantity": "-1", "leverage": "10"}
    assert to_commands(parse(given, cross, reckoned), COINS) == [
        OpenAccount("A1", leverage={"BTCUSDT": 10 * 10**9}),
        Deposit("A1", 1_000_000_000),
        TransferPosition("A1", "BTCUSDT", -10000, -116_830_300_000),
        OpenAccount("A1/BTCUSDT", parent="A1"),
        TransferPosition("A1/BTCUSDT", "BTCUSDT", 1000, 11_683_030_000, last=False),
        Deposit("A1/BTCUSDT", 467_330_000),
        OpenAccount("A1/ETHUSDT", parent="A1", leverage={"ETHUSDT": 3 * 10**9}),
        TransferPosition("A1/ETHUSDT", "ETHUSDT", -1, -10_000, last=False),
        Deposit("A1/ETHUSDT", 3334),  # 0.01 / 3, up to a micro
    ]
    under_another = to_commands(parse(given), CONTRACTS)
    assert isinstance(under_another[2], OpenAccount)
    assert under_another[2].account_id == "A1/BTCUSDT"
    assert isinstance(under_another[3], TransferPosition)
    assert under_another[3].contract == "PBTC"


def test_negative_prices_where_the_contract_knows_them() -> None:
    *_, transfer = to_commands(parse({"contract": "CL", "quantity": "1", "entry_price": "-37.63"}), COINS)
    own = COINS.contracts["CL"].contract
    assert transfer == TransferPosition("A1", "CL", 1, -37_630_000_000 * own.units_per_micro)


@pytest.mark.parametrize(
    ("under", "positions", "words"),
    [
        (COINS, [{"contract": "BTCUSD"}], ("positions[0].contract", "BTCUSD", "unknown under test", "BTCUSDT")),
        (COINS, [{"contract": "PBTC"}], ("positions[0].contract", "unknown")),
        (CONTRACTS, [{"contract": "WHEAT"}], ("it has PBTC, PETH, XBTUSD",)),
        (CONTRACTS, [{"contract": "XBT"}], ("positions[0].contract", "inverse")),
        (COINS, [{"quantity": "0.00005"}], ("positions[0].quantity", "off the lot", "0.0001")),
        (CONTRACTS, [{}, {"quantity": "0.015"}], ("positions[1].quantity", "off the lot", "0.01")),
        (CONTRACTS, [{"contract": "PBTC", "quantity": "0.5"}], ("off the lot", "multiple of 1")),
        (COINS, [{"quantity": "1.0000000000000000000000000000001"}], ("off the lot",)),
        (COINS, [{"quantity": "900000000000"}], ("positions[0].quantity", "out of bounds")),
        (COINS, [{"quantity": "90000000"}], ("positions[0].entry_price", "bound")),
        (COINS, [{"entry_price": "0"}], ("positions[0].entry_price", "above zero")),
        (COINS, [{"entry_price": "-5"}], ("positions[0].entry_price", "above zero", "-5")),
        (COINS, [{}, {"quantity": "-1"}], ("positions[1].quantity", "long and short", "BTCUSDT")),
        (CONTRACTS, [{}, {"contract": "PBTC", "quantity": "-1"}], ("positions[1].quantity", "long and short")),
        (COINS, [{"leverage": "5"}, {}, {"leverage": "6"}], ("positions[2].leverage", "second leverage")),
        (COINS, [{"leverage": "1.0000000001"}], ("positions[0].leverage", "1e-9")),
        (COINS, [{"margin_mode": "isolated", "leverage": "2"}] * 2, ("positions[1].contract", "second isolated")),
        (COINS, [{"margin_mode": "isolated", "isolated_margin": "1e-7"}], ("positions[0].isolated_margin", "places")),
    ],
)
def test_what_does_not_fit_the_rulebook(under: Policy, positions: list[dict[str, Any]], words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        to_commands(msgspec.structs.replace(parse(), positions=_positions(positions)), under)
    message = str(caught.value)
    assert message.startswith("a.jsonl: line 3: ")
    assert [word for word in words if word not in message] == []


def _positions(changes: list[dict[str, Any]]) -> tuple[Any, ...]:
    """Positions of which only some fields matter; also such as a file cannot hold (more digits)."""
    plain = parse().positions[0]
    numbers = ("quantity", "entry_price", "leverage", "isolated_margin")
    return tuple(
        msgspec.structs.replace(plain, **{k: Decimal(v) if k in numbers else v for k, v in change.items()})
        for change in changes
    )


def test_cash_finer_than_a_micro() -> None:
    with pytest.raises(InputError, match=r"line 3: cash: .*6 decimal places"):
        to_commands(parse(cash="0.0000001"), COINS)
