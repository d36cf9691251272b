"""Loading rulebooks: overrides, variants, documents; and what is said about files that cannot be used."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from closeout.core.units import InputError
from closeout.rulebooks.loader import Rulebook, describe, load, names, tiers_from_json

PLAIN = """
title = "A test"
notice = "None"
version = "1"
currency = "USD"
opening_window = "always"
source = "me"
as_of = 2026-01-01
[sources]
me = "a test"
[windows.always]
requirement = "maintenance"
alert = "0.8"
liquidate_only = "1"
auto_liquidate = "1"
source = "me"
as_of = 2026-01-01
[contracts.X]
tick = "0.5"
lot = "1"
tiers = [{ initial_margin_rate = "0.1", maintenance_margin_rate = "0.05" }]
source = "me"
as_of = 2026-01-01
[close_out]
method = "flatten_all"
source = "me"
as_of = 2026-01-01
[marks]
jump = "0.5"
stale_after_seconds = 60
unpriced_move = "0.5"
as_of = 2026-01-01
assumed = ["jump", "stale_after_seconds", "unpriced_move"]
[receivable]
daily_interest = "0"
closing_only_after_business_days = 5
source = "me"
as_of = 2026-01-01
"""
SESSION = """
[windows.intraday]
requirement = "intraday"
alert = "0.8"
liquidate_only = "1"
auto_liquidate = "1.2"
source = "me"
as_of = 2026-01-01
[windows.end_of_day]
requirement = "initial"
alert = "0.8"
liquidate_only = "1"
auto_liquidate = "1"
source = "me"
as_of = 2026-01-01
[sessions.s]
time_zone = "America/Chicago"
tables = [{ valid_from = 2026-01-01, opens = "17:00", closes = "16:00", switch_minutes_before_close = 15 }]
holidays = [{ date = 2026-12-25, closed = true }]
source = "me"
as_of = 2026-01-01
[variants.short]
sessions.s.tables = [{ valid_from = 2026-01-01, opens = "17:00", closes = "12:00", switch_minutes_before_close = 15 }]
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def refusal(name: str, overrides: dict[str, Any] | None = None) -> str:
    with pytest.raises(InputError) as caught:
        load(name, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.rule("EX-01")
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('tick = "0.5"', 'tik = "0.5"', "contracts.X.tik: unknown key; did you mean 'tick'?"),
        ('lot = "1"', "", "contracts.X.lot: expected a value, got none"),
        ('lot = "1"', "lot = 1", "contracts.X.lot: expected `str`, got `int`"),
        ('tick = "0.5"', 'tick = "-0.5"', "contracts.X.tick: expected a number above zero, got -0.5"),
        ('tick = "0.5"', 'tick = "half"', "contracts.X.tick: 'half' is not a number"),
        ('tick = "0.5"', 'tick = "NaN"', "contracts.X.tick: 'NaN' is not a finite number"),
        (
            'tick = "0.5"',
            'tick = "0.5"\ntick_value = "5"',
            "contracts.X.tick_value: expected tick x contract_size = 0.5",
        ),
        ('lot = "1"', 'lot = "1"\nsession = "day"', "contracts.X.session: expected one of none, got 'day'"),
        ("tiers = [{", "tiers = []\nold = [{", "contracts.X.old: unknown key"),
        ('"0.05" }]', '"0.05", max_leverag = "5" }]', "contracts.X.tiers[0].max_leverag: unknown key; did you mean"),
        ('alert = "0.8"', 'alert = "0.4"', "windows.always.alert: expected a rate from 0.5 to 4, got 0.4"),
        ('alert = "0.8"', 'alert = "1.1"', "windows.always: expected alert <= liquidate_only <= auto_liquidate"),
        ('"maintenance"', '"overnight"', "windows.always.requirement: expected one of intraday, initial, maintenance,"),
        ('opening_window = "always"', 'opening_window = "day"', "windows.day: expected a window of this name"),
        ('currency = "USD"', 'currency = "EUR"', "currency: expected one of USD,"),
        ('jump = "0.5"', 'jump = "0"', "marks.jump: expected a rate above 0 and up to 100, got 0"),
        ('version = "1"', "", "version: expected a value, got none"),
        ('source = "me"\nas_of = 2026-01-01\n[sources]', "[sources]", "as_of: expected the date of these values"),
        (
            'source = "me"\nas_of = 2026-01-01\n[close_out]',
            'source = "you"\nas_of = 2026-01-01\n[close_out]',
            "contracts.X.source: expected a tag of [sources], got 'you'",
        ),
        (
            'source = "me"\nas_of = 2026-01-01\n[close_out]',
            "as_of = 2026-01-01\n[close_out]",
            "contracts.X.source: expected a source for 'tick', or the key among 'assumed'",
        ),
        ('assumed = ["jump"', 'assumed = ["jumps"', "marks.assumed: expected keys of this table, got 'jumps'"),
        ("title =", "title ", "not TOML"),
    ],
)
def test_a_bad_file_is_refused_with_its_table_and_key(write: Any, old: str, new: str, message: str):
    assert old in PLAIN
    found = refusal(write(PLAIN.replace(old, new, 1)))
    assert found.startswith("mine.toml: ")
    assert message in found


@pytest.mark.rule("G-06")
@pytest.mark.parametrize(
    ("tiers", "message"),
    [
        ("[]", "tiers: expected at least one tier"),
        ("[{}]", "tiers[0]: expected a maintenance or an initial margin above zero, got neither"),
        (
            '[{ maintenance_margin_rate = "0" }]',
            "tiers[0].maintenance_margin_rate: expected a margin above zero, got 0",
        ),
        ('[{ initial_margin = "0" }]', "tiers[0].initial_margin: expected a margin above zero, got 0"),
        ('[{ initial_margin = "-1" }]', "tiers[0].initial_margin: expected an amount from 0"),
        ('[{ initial_margin_rate = "2.1" }]', "tiers[0].initial_margin_rate: expected a rate from 0 to 2, got 2.1"),
        ('[{ initial_margin_rate = "-0.1" }]', "tiers[0].initial_margin_rate: expected a rate from 0 to 2, got -0.1"),
        ('[{ initial_margin_rate = "1e-10" }]', "tiers[0].initial_margin_rate: 1e-10 is finer than 1e-9"),
        ('[{ max_leverage = "0" }]', "tiers[0].max_leverage: expected a number above zero, got 0"),
        ('[{ max_leverage = "0.4" }]', "tiers[0].max_leverage: expected at least 0.5, got 0.4"),
        ('[{ notional_from = "1", max_leverage = "9" }]', "tiers[0].notional_from: expected 0 for the first tier"),
        (
            '[{ max_leverage = "9" }, { notional_from = "0", max_leverage = "8" }]',
            "tiers[1].notional_from: expected more than the tier before",
        ),
        (
            '[{ initial_margin_rate = "0.1", intraday_margin_rate = "0.2" }]',
            "tiers[0]: expected intraday margin to be no more than initial margin",
        ),
        (
            '[{ initial_margin = "100", maintenance_margin = "101" }]',
            "tiers[0]: expected maintenance margin to be no more than initial margin",
        ),
        (
            '[{ maintenance_margin_rate = "0.1", maintenance_amount = "1" }]',
            "tiers[0].maintenance_amount: expected less than the margin at the tier's start",
        ),
        ('[{ initial_margin = "1e999999999" }]', "tiers[0].initial_margin: 1e999999999 is beyond 10^500"),
    ],
)
def test_zero_missing_and_absurd_margins_are_refused(write: Any, tiers: str, message: str):
    given = 'tiers = [{ initial_margin_rate = "0.1", maintenance_margin_rate = "0.05" }]'
    assert f"contracts.X.{message}" in refusal(write(PLAIN.replace(given, f"tiers = {tiers}")))


@pytest.mark.rule("US-02")
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('opens = "17:00"', 'opens = "5pm"', "sessions.s.tables[0].opens: expected a time HH:MM, got '5pm'"),
        ('closes = "16:00"', 'closes = "24:00"', "sessions.s.tables[0].closes: expected a time HH:MM, got '24:00'"),
        ("closed = true", 'halt = "9:00"', "sessions.s.holidays[0].halt: expected a time HH:MM, got '9:00'"),
        ("closed = true", "closed = false", "sessions.s.holidays[0]: expected one of closed, early_close and halt"),
        ("America/Chicago", "Chicago", "sessions.s.time_zone: 'Chicago' is not a known time zone"),
        (
            "_before_close = 15",
            "_before_close = 0",
            "sessions.s.tables[0].switch_minutes_before_close: expected a whole",
        ),
        ("_before_close = 15", "_before_close = 1400", "expected the open before the switch before the close"),
        ("[windows.end_of_day]", "[windows.night]", "windows.end_of_day: expected a window of this name"),
    ],
)
def test_bad_hours_are_refused(write: Any, old: str, new: str, message: str):
    assert old in SESSION
    assert message in refusal(write(PLAIN + SESSION.replace(old, new, 1)))


def test_unknown_names_files_and_variants(write: Any, tmp_path: Path):
    path = write(PLAIN + SESSION)
    assert refusal("krakn").startswith("rulebook 'krakn': expected ")
    assert ", kraken-us, kraken-us:as_if_24x7, " in refusal("krakn")
    assert "no.toml: cannot be read: No such file" in refusal(str(tmp_path / "no.toml"))
    assert refusal(f"{path}:long") == "mine.toml: variants: expected one of short, got 'long'"
    assert refusal("reference:x") == "reference.toml: variants: expected one of none, got 'x'"
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    assert "bytes.toml: not TOML" in refusal(str(tmp_path / "bytes.toml"))
    (tmp_path / "folder.toml").mkdir()
    assert "folder.toml: cannot be read: Is a directory" in refusal(str(tmp_path / "folder.toml"))


def test_a_variant_is_merged_table_by_table(write: Any):
    path = write(PLAIN + SESSION)
    base, short = load(path), load(f"{path}:short")
    assert (base.table.name, short.table.name) == ("mine", "mine:short")
    assert short.table.sessions["s"].holidays == base.table.sessions["s"].holidays
    assert [hours.closes for hours in short.table.sessions["s"].tables] == ["12:00"]
    assert short.digest != base.digest


OVERRIDES: dict[str, Any] = {
    "contracts": {
        "PBTCUCZ50": {
            "tick": "0.01",
            "tiers": [{"notional_from": "0", "initial_margin_rate": "0.15", "maintenance_margin_rate": "0.15"}],
        }
    },
    "windows": {"intraday": {"auto_liquidate": "1.00"}},
}


def test_overrides_replace_the_named_keys_only():
    plain, changed = load("kraken-us").policy(), load("kraken-us", OVERRIDES).policy()
    before, after = plain.contracts["PBTCUCZ50"], changed.contracts["PBTCUCZ50"]
    assert str(after.contract.tick) == "0.01"
    assert after.contract.contract_size == before.contract.contract_size
    assert (after.session, after.stands_for) == (before.session, before.stands_for)
    assert [tier.rate for tier in after.tiers] == [(150_000_000,) * 3]
    assert changed.windows["intraday"].auto_liquidate == 1_000_000_000
    assert changed.windows["intraday"].alert == plain.windows["intraday"].alert
    assert changed.windows["end_of_day"] == plain.windows["end_of_day"]
    assert changed.contracts["MES"] == plain.contracts["MES"]
    assert list(changed.contracts) == list(plain.contracts)


def test_an_override_may_define_a_contract():
    tier = {
        "notional_from": "0",
        "max_leverage": "25",
        "initial_margin_rate": "0.04",
        "maintenance_margin_rate": "0.005",
        "maintenance_amount": "0",
    }
    given = {"kind": "inverse", "tick": "0.1", "lot": "1", "contract_size": "1", "taker_fee": "0.0005", "tiers": [tier]}
    policy = load(
        "reference", {"contracts": {"XBTUSD": given, "Y": {"tick": "1", "lot": "1", "tiers": [tier]}}}
    ).policy()
    inverse, plain = policy.contracts["XBTUSD"], policy.contracts["Y"]
    assert (inverse.contract.kind.value, inverse.contract.taker_fee) == ("inverse", 500_000)
    assert inverse.tiers[0].rate == (40_000_000, 40_000_000, 5_000_000)
    assert (plain.contract.kind.value, plain.contract.contract_size, plain.contract.taker_fee) == ("linear", 1, 0)
    assert (plain.session, plain.contract.fee_per_lot, plain.expected_cost) == (None, 0, 0)


def test_overrides_are_checked_like_the_file():
    found = refusal("reference", {"contracts": {"BTCUSDT": {"tick_size": "1"}}})
    assert (
        found == "reference.toml with overrides: contracts.BTCUSDT.tick_size: unknown key; did you mean 'tick_value'?"
    )
    assert "contracts.Z.tick: expected a value, got none" in refusal("reference", {"contracts": {"Z": {}}})
    assert "contracts.Z: expected `object`, got `int`" in refusal("reference", {"contracts": {"Z": 3}})
    assert "contracts: expected `object`, got `int`" in refusal("reference", {"contracts": 3})
    assert "BTCUSDT.tiers[0].initial_margin_rate" in refusal(
        "reference", {"contracts": {"BTCUSDT": {"tiers": [{"initial_margin_rate": "0"}]}}}
    )


@pytest.mark.rule("US-02")
def test_what_a_tier_does_not_name():
    contract = load("kraken-us").policy().contracts["MES"].contract

    def figures(tier: dict[str, str]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        only = tiers_from_json(contract, msgspec.json.encode([tier]))[0]
        return only.rate, only.per_lot, only.amount

    assert figures({"maintenance_margin_rate": "0.05"}) == ((50_000_000,) * 3, (0,) * 3, (0,) * 3)
    assert figures({"initial_margin": "2100"}) == ((0,) * 3, (2_100_000_000,) * 3, (0,) * 3)
    third = figures({"max_leverage": "3", "maintenance_margin_rate": "0.05"})
    assert third[0] == (333_333_334, 333_333_334, 50_000_000)  # a third, rounded up
    named = figures({"max_leverage": "3", "initial_margin_rate": "0.4", "maintenance_margin_rate": "0.05"})
    assert named[0] == (400_000_000, 400_000_000, 50_000_000)
    mixed = figures({"intraday_margin": "50", "initial_margin_rate": "0.07", "maintenance_margin_rate": "0.06"})
    assert mixed[:2] == ((0, 70_000_000, 60_000_000), (50_000_000, 0, 0))


def test_tiers_deduct_their_amount():
    contract = load("reference").policy().contracts["BTCUSDT"].contract
    text = (
        b'[{"maintenance_margin_rate": "0.004"},'
        b' {"notional_from": "50000", "maintenance_margin_rate": "0.005", "maintenance_amount": "50"}]'
    )
    tiers = tiers_from_json(contract, text)
    assert [tier.notional_from for tier in tiers] == [0, 50_000_000_000]
    assert tiers[1].amount == (50_000_000,) * 3  # initial and intraday fall back to the same margin


def test_tiers_that_are_no_json_are_refused():
    contract = load("reference").policy().contracts["BTCUSDT"].contract
    for text in (b"{", b'{"a": 1}', b'[{"rate": "0.1"}]', b'[{"max_leverage": 5}]', b"[]", b"\xff"):
        with pytest.raises(InputError, match=r"BTCUSDT\.tiers"):
            tiers_from_json(contract, text)


@pytest.mark.rule("G-03", "G-17")
@pytest.mark.parametrize("name", names())
def test_a_document_gives_the_same_rulebook_back(name: str):
    rulebook = load(name)
    again = Rulebook.from_document(rulebook.document())
    assert again.document() == rulebook.document()
    assert again.digest == rulebook.digest == load(name).digest
    assert again.policy() == rulebook.policy()
    assert list(again.policy().contracts) == list(rulebook.policy().contracts)
    assert rulebook.policy().digest == rulebook.digest


@pytest.mark.rule("G-17")
def test_the_digest_follows_every_value_and_the_order_of_contracts():
    digests = {
        load("reference").digest,
        load("reference", {"marks": {"jump": "0.4"}}).digest,
        load("reference", {"contracts": {"BTCUSDT": {"expected_cost": "0.1"}}}).digest,
        load("reference", {"net_liq_floor": "0"}).digest,
    }
    assert len(digests) == 4
    document = load("reference").document()
    table = msgspec.json.decode(document)
    table["contracts"] = dict(reversed(table["contracts"].items()))
    assert Rulebook.from_document(msgspec.json.encode(table)).digest not in digests


@pytest.mark.parametrize("document", [b"{", b"[]", b'{"name": "x"}', b"\xff"])
def test_documents_that_cannot_be_used(document: bytes):
    with pytest.raises(InputError, match="rulebook document: "):
        Rulebook.from_document(document)


def test_an_override_is_described_as_one():
    rows = {row["key"]: row for row in describe(load("kraken-us", OVERRIDES))["parameters"]}
    changed = {key for key, row in rows.items() if row["overridden"]}
    assert changed == {
        "contracts.PBTCUCZ50.tick",
        "contracts.PBTCUCZ50.tiers[0].initial_margin_rate",
        "contracts.PBTCUCZ50.tiers[0].maintenance_margin_rate",
        "windows.intraday.auto_liquidate",
    }
    assert all(rows[key]["source"] == [] and not rows[key]["assumed"] for key in changed)
