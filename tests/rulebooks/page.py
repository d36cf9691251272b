"""The table of docs/rulebooks.md: `python -m tests.rulebooks.page` writes it anew, from the rulebooks themselves."""

from __future__ import annotations

from pathlib import Path

from closeout.rulebooks.loader import Rulebook, describe, load, names
from closeout.rulebooks.schema import CloseOutTable, ContractTable, RulebookTable, StageTable, StepTable

PAGE = Path(__file__).parents[2] / "docs" / "rulebooks.md"
BEGIN, END = "<!-- table: python -m tests.rulebooks.page -->\n", "<!-- end of the table -->\n"
HEAD = """\
| Rulebook | Version | Currency | Mark | Margin | Close-out | Fee | What follows | Assumed |
|---|---|---|---|---|---|---|---|---|
"""


def table() -> str:
    return HEAD + "".join(f"| `{name}` | {' | '.join(_cells(load(name)))} |\n" for name in names())


def _cells(book: Rulebook) -> list[str]:
    given = book.table
    rows = describe(book)["parameters"]
    return [
        given.version,
        given.currency,
        given.marks.formula,
        "; ".join(dict.fromkeys(_margin(contract) for contract in given.contracts.values())),
        _close_out(given.close_out),
        _fee(given),
        " → ".join(_stage(stage) for stage in given.waterfall) or "customer_owes",
        f"{round(10 * sum(row['assumed'] for row in rows) / len(rows)) * 10} %",
    ]


def _margin(contract: ContractTable) -> str:
    """How a requirement comes about. Tiers without an amount are whole-position steps."""
    tiers = contract.tiers
    if any(tier.maintenance_margin_slope or tier.initial_margin_slope for tier in tiers):
        shape = "rising with size"
    elif any(tier.initial_margin_root for tier in tiers):
        shape = "rising with the root of the size"
    elif len(tiers) == 1:
        shape = "one rate" if tiers[0].maintenance_margin is None else "an amount a contract"
    else:
        shape = "brackets" if any(tier.maintenance_amount for tier in tiers[1:]) else "steps"
    words = [contract.kind, shape, f"of the {contract.requirement_base}"]
    words += ["with the closing fee"] if contract.close_fee_in_requirement else []
    words += ["initial by open interest"] if contract.open_interest_upper else []
    words += ["longs against shorts"] if contract.netting_group else []
    return ", ".join(words)


def _close_out(given: CloseOutTable) -> str:
    steps = [_step(given), *(_step(step) for step in given.then)]
    text = ", then ".join(steps)
    if given.take_over_below is not None:
        text += f"; below {given.take_over_below} x the requirement straight to what follows"
    return text + ("; surplus to the fund" if given.surplus == "insurance_fund" else "")


def _step(step: StepTable) -> str:
    text = step.method
    if step.method == "reduce_by_share":
        text += f" {step.share}"
        text += f" above {step.share_above}" if step.share_above != "0" else ""
        text += f" every {step.interval_seconds} s" if step.interval_seconds else ""
        text += f" (all of it for {step.whole_within_seconds} s after)" if step.whole_within_seconds else ""
    if step.method == "lower_tier" and step.tiers_down > 1:
        text += f" by {step.tiers_down}"
    if isinstance(step, CloseOutTable) and step.method == "reduce_to_target":
        text += f" {step.target}"
    return text if step.limit == "none" else f"{text} at {step.limit}"


def _fee(given: RulebookTable) -> str:
    fee = given.liquidation_fee
    if fee is None or (fee.rate, fee.first, fee.later) == ("0", "0", "0"):
        return "none"
    text = fee.rate if fee.rate != "0" else f"{fee.first}, later {fee.later}"
    text += f", at most {fee.of_rest} of what is left" if fee.of_rest else ""
    return f"{text} to the {fee.payee.replace('_', ' ')}{', capped' if fee.capped else ''}"


def _stage(stage: StageTable) -> str:
    said = [stage.ranking, stage.among, "solvent only" if stage.solvent_only else None]
    said += [None if stage.capacity is None else f"up to {stage.capacity}"]
    said += [None if stage.capacity_of_fund is None else f"up to {stage.capacity_of_fund} x the fund"]
    said += [None if stage.drawdown is None else f"fund down {stage.drawdown} in {stage.drawdown_hours} h"]
    said += [f"at {stage.price}" if stage.stage in ("auto_deleveraging", "unwind") else None]
    words = ", ".join(word for word in said if word)
    return f"{stage.stage} ({words})" if words else stage.stage


def written(page: str) -> str:
    """The page with the table of today."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
