"""`closeout replay` with several rulebooks, as somebody calls it who has never done so, and as somebody who errs."""

import json

import pytest
from tests.cli.command import Command, account, market
from tests.studies.waterfalls import VENUE, WINNERS, rulebook


@pytest.mark.rule("EX-09", "EX-03", "EX-04")
def test_three_rulebooks_in_the_terminal(command: Command) -> None:
    rulebook(command.folder, "fund", {"stage": "insurance_fund"}, VENUE, fund="1000000")
    rulebook(command.folder, "winners", WINNERS, VENUE)
    books = "reference,fund.toml,winners.toml"
    answer = command("replay", "oct-10", "--population", 60, "--rulebook", books, "--out", "three")
    assert answer.code == 0, answer.err
    said = " ".join(answer.out.split())
    assert said.startswith("The same accounts at the same prices under 3 rulebooks: beyond margin they lose from")
    assert "Under reference the customers owe it, elsewhere it falls mostly to" in said
    lines = answer.out.splitlines()
    (head,) = [line for line in lines if line.split() == ["reference", "fund.toml", "winners.toml"]]
    for name in ("accounts", "not admitted", "closed out", "lost beyond margin", "  the customers owe it",
                 "  the insurance fund", "  deleveraged winners", "accounts deleveraged",
                 "insurance fund after"):  # fmt: skip
        (line,) = [line for line in lines if line.startswith(name + "  ")]
        assert len(line) <= len(head)
    verify = [line for line in lines if line.startswith("Verify: ")]
    assert len(verify) == 3
    for line in verify:
        assert command(*line.split()[2:]).code == 0, line
    assert "<svg" in (command.folder / "three" / "report.html").read_text(encoding="utf-8")


@pytest.mark.rule("EX-09", "EX-04")
def test_what_is_told_meanwhile_ends_as_the_summary_does(command: Command) -> None:
    """Under hyperliquid most are closed out without an order; binance-usdm has both legs of each contract."""
    answer = command("replay", "oct-10", "--population", 60, "--rulebook", "hyperliquid,binance-usdm", "--json")
    assert answer.code == 0, answer.err
    for name, found in answer.json["rulebooks"].items():
        last = [line for line in answer.err.splitlines() if f"under {name}: bar 91" in line][-1]
        assert f"closed out {found['liquidated_accounts']};" in last
        assert found["liquidated_accounts"]
        assert ":long" not in last
    assert answer.json["rulebooks"]["hyperliquid"]["close_out_orders"] == 0


@pytest.mark.rule("EX-09")
def test_the_same_accounts_and_the_same_appetite(command: Command) -> None:
    """Long one BTC with 500: less than dYdX's maintenance margin; half a coin is the same appetite there."""
    command.write("BTCUSDT.csv", market("50000", "49990", "50010"))
    command.write("accounts.jsonl", [account(cash="500")])
    call = ("replay", "BTCUSDT.csv", "--accounts", "accounts.jsonl", "--rulebook", "reference,dydx-v4", "--json")
    plain = command(*call)
    assert plain.code == 0, plain.err
    sized = command(*call, "--same-appetite")
    assert sized.code == 0, sized.err
    assert [plain.json["same_appetite"], sized.json["same_appetite"]] == [False, True]
    outcome = plain.json["side_by_side"]["accounts"]["A1"]
    assert outcome["reference"]["admitted"]
    assert outcome["dydx-v4"] == {"admitted": False}
    assert plain.json["rulebooks"]["dydx-v4"]["not_admitted"] == 1
    assert sized.json["side_by_side"]["accounts"]["A1"]["dydx-v4"]["admitted"]
    assert sized.json["side_by_side"]["accounts"]["A1"]["reference"] == outcome["reference"]
    assert "side_by_side" in json.loads((command.folder / "closeout-replay" / "summary.json").read_bytes())


def test_one_rulebook_stands_beside_none(command: Command) -> None:
    command.write("BTCUSDT.csv", market("50000", "49400"))
    command.write("accounts.jsonl", [account()])
    answer = command("replay", "BTCUSDT.csv", "--accounts", "accounts.jsonl", "--json")
    assert answer.json["side_by_side"] is None


@pytest.mark.parametrize(
    ("books", "naming"),
    [
        ("reference,kraken-linar", ("kraken-linar", "did you mean kraken-linear")),
        ("reference,reference", ("--rulebook", "each name once")),
        ("reference,", ("rulebook",)),
        ("reference,nowhere.toml", ("nowhere.toml",)),
    ],
)
@pytest.mark.rule("EX-09")
def test_wrong_names(command: Command, books: str, naming: tuple[str, ...]) -> None:
    command.refuses("replay", "oct-10", "--rulebook", books, naming=naming)
    command.write("accounts.jsonl", [account()])
    command.refuses("replay", "oct-10", "--rulebook", books, "--accounts", "accounts.jsonl", naming=naming)


@pytest.mark.rule("EX-09")
def test_nobody_to_take_from_and_nothing_to_measure_by(command: Command) -> None:
    winners = rulebook(command.folder, "winners", WINNERS, VENUE)
    command.refuses(
        "replay", "oct-10", "--rulebook", winners, "--population", 1, naming=("--population", "at least 2 accounts")
    )
    command.write("BTCUSDT.csv", market("50000", "49400"))
    command.write(
        "accounts.jsonl", [account(positions=[{"contract": "PI_XBTUSD", "quantity": "5", "entry_price": "5"}])]
    )
    call = ("replay", "BTCUSDT.csv", "--accounts", "accounts.jsonl", "--rulebook", "kraken-coinm", "--same-appetite")
    command.refuses(*call, naming=("accounts.jsonl: line 1", "--same-appetite", "PI_XBTUSD", "BTCUSDT"))
    command.write("DOGEUSDT.csv", market("0.2", "0.1"))
    command.refuses("replay", "DOGEUSDT.csv", "--rulebook", "reference,kraken-coinm", naming=("DOGEUSDT",))
