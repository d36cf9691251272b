"""Rulebooks for tests of the waterfall: the shipped `reference` with other stages behind it."""

from pathlib import Path

from closeout.rulebooks import loader

FUND = '[insurance_fund]\ninitial = "{initial}"\nas_of = 2026-11-01\nassumed = ["initial"]\n'
STAGE = "[[waterfall]]\n{lines}as_of = 2026-11-01\nassumed = [{names}]\n"
WINNERS = {"stage": "auto_deleveraging", "ranking": "leveraged_return"}
VENUE = {"stage": "venue_bears"}
POSITIONS = {"liquidity_providers", "insurance_fund_takes", "backstop_vault", "auto_deleveraging", "unwind"}


def rulebook(folder: Path, name: str, *stages: dict[str, str], fund: str | None = None, initial: str = "0.01") -> str:
    """The path of a rulebook with these stages; `initial` is the initial margin of BTCUSDT. Orders have the bankruptcy
    price as their limit where a stage takes positions: what finds no price within it goes there."""
    text = (Path(loader.__file__).parent / "reference.toml").read_text(encoding="utf-8")
    before, _, rest = text.partition("[[waterfall]]")
    after = rest[rest.index("[marks]") :]
    tables = [
        STAGE.format(
            lines="".join(f'{key} = "{value}"\n' for key, value in stage.items()),
            names=", ".join(f'"{key}"' for key in stage),
        )
        for stage in stages
    ]
    tables += [] if fund is None else [FUND.format(initial=fund)]
    text = before.replace('initial_margin_rate = "0.01"', f'initial_margin_rate = "{initial}"', 1)
    if POSITIONS & {stage["stage"] for stage in stages}:
        text = text.replace('method = "flatten_all"', 'method = "flatten_all"\nlimit = "bankruptcy"')
    path = folder / f"{name}.toml"
    path.write_text("\n".join([text, *tables, after]), encoding="utf-8")
    return str(path)
