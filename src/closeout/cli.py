"""The command `closeout` (INTERFACES: "The command closeout").

Exit codes: 0 done; 2 the input or the call is bad (one line says what, nothing is written); 3 a verification failed;
1 anything else. With `--json` standard output holds one JSON document; progress goes to standard error.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from closeout.core.units import InputError

if TYPE_CHECKING:
    from closeout.journal.verify import Verification

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Watch futures accounts as prices move, close them out, and keep the books on what is left.",
    epilog="Exit codes: 0 done; 2 the input or the call is bad, and nothing is written; 3 a verification failed; "
    "1 anything else.",
)
rulebooks_app = typer.Typer(
    no_args_is_help=False, help="The rulebooks: list them, show one with its sources, check a file."
)
app.add_typer(rulebooks_app, name="rulebooks", invoke_without_command=True)

Overrides = Annotated[
    Path | None,
    typer.Option(help="JSON of rulebook parameters to use instead; amounts are in each rulebook's own currency."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]

INTERRUPTED = 130
"""Typer's exit code for Ctrl-C."""


def main() -> None:
    """Run the command line; bad input ends with one line on standard error and exit code 2."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops as Ctrl-C does
    logging.basicConfig(format="closeout: %(message)s")  # to standard error; the service has a way of its own
    logging.getLogger("closeout").setLevel(logging.INFO)
    try:
        app(prog_name="closeout")
    except InputError as bad:
        print(f"closeout: {one_line(str(bad))}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        print("closeout: interrupted", file=sys.stderr)
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)


def one_line(text: str) -> str:
    """Text from a file may hold anything; on the screen it stays one line and moves no cursor."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


@app.command()
def quote(
    account: Annotated[
        Path, typer.Argument(help="The account with its rulebook and marks, as JSON; - reads standard input.")
    ],
    as_json: Json = False,
) -> None:
    """Assess one account: requirements, usage, liquidation and bankruptcy price, and what could be owed.

    The least that the file holds: {"account_id": "A1", "cash": "1000", "rulebook": "reference", "marks": {"BTCUSDT":
    "31967.27"}, "positions": [{"contract": "BTCUSDT", "quantity": "0.1", "entry_price": "31000"}]}
    """
    from closeout.studies import quote as assessment
    from closeout.studies.documents import name_of, read_object

    result = assessment.quote(read_object(account), name_of(account))
    print(json.dumps(result, indent=2) if as_json else assessment.explain(result))


@rulebooks_app.callback(invoke_without_command=True)
def rulebooks(context: typer.Context, as_json: Json = False) -> None:
    if context.invoked_subcommand is None:
        rulebooks_list(as_json=as_json)
    elif as_json:
        raise InputError(f"--json: expected after the command: closeout rulebooks {context.invoked_subcommand} --json")


@rulebooks_app.command("list")
def rulebooks_list(as_json: Json = False) -> None:
    """Name the rulebooks that come with the package, variants included."""
    from closeout.rulebooks import loader

    found = [{"name": name, "title": loader.describe(loader.load(name))["title"]} for name in loader.names()]
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        width = max(len(book["name"]) for book in found)
        print("\n".join(f"{book['name']:<{width}}  {book['title']}" for book in found))


@rulebooks_app.command("show")
def rulebooks_show(
    name: Annotated[str, typer.Argument(help="A shipped name, NAME:VARIANT, or a file.")], as_json: Json = False
) -> None:
    """Print a rulebook, each parameter with its source and date; what is assumed says so."""
    from closeout.rulebooks import loader

    shown = loader.describe(loader.load(name))
    print(json.dumps(shown, indent=2) if as_json else _rulebook_text(shown))


@rulebooks_app.command("check")
def rulebooks_check(
    file: Annotated[str, typer.Argument(help="A rulebook of your own (.toml); :VARIANT may follow.")],
    as_json: Json = False,
) -> None:
    """Check a rulebook file and its variants; what is wrong is named by file, table and key."""
    from closeout.rulebooks import loader

    book = loader.load(file)
    notes = loader.notes(book)
    for variant in loader.variants(file):
        notes += [f"{variant}: {note}" for note in loader.notes(loader.load(f"{file}:{variant}")) if note not in notes]
    policy = book.policy()
    if as_json:
        found = {"file": file, "ok": True, "name": policy.name, "version": policy.version, "digest": book.digest}
        print(json.dumps(found | {"contracts": list(policy.contracts), "notes": notes}, indent=2))
    else:
        count = len(book.table.contracts)
        contracts = f"{count} contract{'s' if count != 1 else ''}"
        print(f"{file}: good: {policy.name}, version {policy.version}, {contracts}, digest {book.digest}")
        print("".join(f"    note: {note}\n" for note in notes), end="")


def _rulebook_text(shown: dict[str, Any]) -> str:
    said = [
        f"{shown['name']}: {shown['title']} (version {shown['version']}, {shown['currency']})",
        shown["notice"] or "",
    ]
    width = max(len(row["key"]) for row in shown["parameters"])
    for row in shown["parameters"]:
        value = ", ".join(map(str, row["value"])) if isinstance(row["value"], list) else row["value"]
        value = "true" if value is True else value
        origin = "ASSUMED" if row["assumed"] else f"{', '.join(row['source'])}; {row['as_of']}"
        said.append(f"{row['key']:<{width}}  {value}  [{origin}]")
    said += ["Sources:", *(f"  {tag}: {source}" for tag, source in shown["sources"].items())]
    return "\n".join(line for line in said if line)


@app.command()
def replay(
    market: Annotated[
        list[str],
        typer.Argument(
            help="Market files, CSV or Parquet; or the shipped windows oct-10, oct-10-sol, oct-10-all, march-12, "
            "march-12-morning."
        ),
    ],
    accounts: Annotated[
        Path | None, typer.Option(help="Accounts as JSON Lines; without it a seeded population.")
    ] = None,
    population: Annotated[int, typer.Option(min=1, help="Accounts in the population.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the population.")] = 1,
    rulebook: Annotated[str, typer.Option(help="NAME[:VARIANT] or a .toml file; several with commas.")] = "reference",
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("closeout-replay"),
    fill: Annotated[str, typer.Option(help="How close-outs fill: book, adverse or close.")] = "book",
    latency: Annotated[str, typer.Option(help="Until an order reaches the book: 500ms, or 2bars.")] = "500ms",
    depth: Annotated[
        int, typer.Option(min=1, help="Depth within 1 % of the mid on a calm day, in the currency.")
    ] = 20_000_000,
    funding: Annotated[
        Path | None, typer.Option(help="Recorded funding rates, CSV; without it none is applied.")
    ] = None,
    same_appetite: Annotated[
        bool,
        typer.Option("--same-appetite", help="Size every account to the same fraction of what each rulebook allows."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a recorded market through the engine, under one rulebook or several side by side.

    The population has both sides of every position where one of the rulebooks takes from customers who won.
    """
    from closeout.studies.accounts import load_accounts
    from closeout.studies.documents import read_object
    from closeout.studies.market import load_market
    from closeout.studies.runner import population_for, run_replay, venue_settings
    from closeout.studies.screen import summary_text
    from closeout.studies.watch import watching

    loaded = load_market(market)
    settings = venue_settings(fill, latency, depth, loaded.interval(), funding)
    names = [name.strip() for name in rulebook.split(",")]
    changes = read_object(overrides) if overrides else None
    book = load_accounts(accounts) if accounts else population_for(names, loaded, seed, population, changes)
    with watching() as progress:
        finished = run_replay(
            market, loaded, book, names, out,
            settings=settings, progress=progress, overrides=changes, same_appetite=same_appetite,
        )  # fmt: skip
    print(json.dumps(finished.summary, indent=2) if as_json else summary_text(finished.runs, finished.folder))
    off = [f"closeout: {run.rulebook}: {problem}" for run in finished.runs for problem in run.problems]
    if off:
        print("\n".join(map(one_line, off)), file=sys.stderr)
        raise typer.Exit(3)


@app.command()
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Play two crashes to their ends, print the summaries, exit.")
    ] = False,
    accounts: Annotated[int, typer.Option(min=1, help="Accounts in the population.")] = 1000,
    speed: Annotated[
        float | None,
        typer.Option(min=0, help="Times the recorded speed; 60 unless given, with --once as fast as it goes."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the service listens; 0 takes a free port.")] = 8645,
    market: Annotated[str, typer.Option(help="A shipped window or a market file.")] = "march-12",
    rulebook: Annotated[str, typer.Option(help="NAME[:VARIANT] or a .toml file.")] = "kraken-us:as_if_24x7",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps the journal, the store and the mail: the next start goes on from there. "
            "With --once, the folder of the files."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start the service on this machine with a recorded crash as its market; prints the address and the keys."""
    if once:
        from closeout.studies import demo as show

        summaries = show.run(out or Path("closeout-demo"), accounts, speed or 0, print_text=not as_json)
        if as_json:
            print(json.dumps(summaries, indent=2))
        return
    from closeout.service import demo as live

    live.run(out, market, rulebook, accounts, 60.0 if speed is None else speed, port, as_json=as_json)


@app.command()
def serve(
    config: Annotated[Path, typer.Option(help="The configuration, closeout.toml.")],
    check: Annotated[bool, typer.Option("--check", help="Only check the configuration; nothing is opened.")] = False,
    as_json: Json = False,
) -> None:
    """Run the service on the configured feeds, venue, mail and database until Ctrl-C or SIGTERM."""
    from closeout.service import run

    run.serve(config, check_only=check, as_json=as_json)


keys_app = typer.Typer(no_args_is_help=True, help="API keys.")
app.add_typer(keys_app, name="keys")


@keys_app.command("new")
def keys_new(
    key_id: Annotated[str, typer.Option("--id", help="Lower-case letters, digits and hyphens.")],
    name: Annotated[str, typer.Option(help="The person or system; it stands beside each act.")],
    role: Annotated[str, typer.Option(help="customer, broker, desk, supervisor or auditor.")],
    account: Annotated[list[str] | None, typer.Option(help="A customer's account; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key: prints it once, and the table of closeout.toml that lets it in."""
    from closeout.service.access import make_key

    text, key = make_key(key_id, name, role, account or ())  # pyright: ignore[reportArgumentType]
    if as_json:
        print(json.dumps({"key": text, "hash": key.hash, "toml": key.as_table()}))
    else:
        print(f"The key, shown this once:\n{text}\n\nFor closeout.toml:\n{key.as_table()}")


study_app = typer.Typer(no_args_is_help=True, help="Studies of published data, which does not come with the package.")
app.add_typer(study_app, name="study")


@study_app.command("deleveraging")
def study_deleveraging(
    folder: Annotated[
        Path,
        typer.Argument(help="The outcome tables of 10 October 2025 (docs/deleveraging-study.md says where they are)."),
    ],
    as_json: Json = False,
) -> None:
    """Sum the published auto-deleveraging tables again, correct them, and share the same amounts by other rules.

    Exit code 3: a total differs from the published one.
    """
    from closeout.studies import adl_screen, adl_study
    from closeout.studies.adl_tables import read_tables

    tables = read_tables(folder)
    found = adl_study.study(tables)
    print(json.dumps(adl_screen.document(found, tables), indent=2) if as_json else adl_screen.text(found))
    if off := [one.what for one in found.totals if one.agrees() is False]:
        print(f"closeout: differs from the published total: {', '.join(off)}", file=sys.stderr)
        raise typer.Exit(3)


@study_app.command("funding")
def study_funding(
    file: Annotated[Path, typer.Argument(help="Funding rates, CSV: Symbol,Date,Funding Rate.")],
    rulebook: Annotated[str, typer.Option(help="NAME[:VARIANT] or a .toml file.")] = "reference",
    contract: Annotated[str | None, typer.Option(help="Of the rulebook; the one that stands for the symbol.")] = None,
    quantity: Annotated[str, typer.Option(help="Held throughout; below zero for a short position.")] = "1",
    price: Annotated[str, typer.Option(help="At which the position is valued at each payment.")] = "10000",
    stamps: Annotated[
        str | None, typer.Option(help="Time zone of the file: UTC or +03:00. Known of Binance, Bybit and dYdX files.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Pay a recorded series of funding rates on a position that is held throughout, by the engine.

    Exit code 3: the books did not balance.
    """
    from closeout.core.units import decimal
    from closeout.rulebooks.loader import load
    from closeout.studies import funding_screen, funding_study
    from closeout.studies.funding_series import read_series

    found = funding_study.study(
        read_series(file, stamps),
        load(rulebook),
        contract=contract,
        quantity=decimal(quantity, "--quantity"),
        price=decimal(price, "--price"),
    )
    print(json.dumps(funding_screen.document(found), indent=2) if as_json else funding_screen.text(found))
    if found.problems:
        print("\n".join(f"closeout: {problem}" for problem in found.problems), file=sys.stderr)
        raise typer.Exit(3)


@app.command()
def bench(
    name: Annotated[str | None, typer.Argument(help="One benchmark; all of them without a name.")] = None,
    workload: Annotated[
        str | None, typer.Option(help="Of index: calm, hot, crash, adversarial, growth, sweep or switch.")
    ] = None,
    accounts: Annotated[int | None, typer.Option(help="Of index and recovery: how many accounts.")] = None,
    inputs: Annotated[int | None, typer.Option(help="Of recovery: how many inputs after the snapshot.")] = None,
    marks: Annotated[int | None, typer.Option(help="Of index: how many marks.")] = None,
    flox_all: Annotated[
        bool, typer.Option("--flox-all", help="Of index: FLOX with more than 100,000 accounts as well; it takes long.")
    ] = False,
    digest_accounts: Annotated[
        int | None, typer.Option(help="Of index: how many accounts the full scan judges as well.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the benchmarks behind the README's table (they lie in the source checkout)."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / "benchmarks" / "__init__.py").is_file():
        raise InputError("bench: the benchmarks are part of the source checkout, which is not here")
    sys.path.insert(0, str(checkout))
    import benchmarks

    benchmarks.main(
        name,
        as_json=as_json,
        workload=workload,
        accounts=accounts,
        inputs=inputs,
        marks=marks,
        flox_all=flox_all,
        digest_accounts=digest_accounts,
    )


@app.command()
def verify(
    journal: Annotated[
        str,
        typer.Argument(
            help="A journal, such as journal.sqlite of a replay, or postgresql://USER@HOST/DATABASE?schema=NAME."
        ),
    ],
    published: Annotated[str | None, typer.Option(help="The digest that was published when the run ended.")] = None,
    as_json: Json = False,
) -> None:
    """Run a journal again and prove digests, balances and receipts; exit code 3 names the first difference."""
    from closeout.engine.engine import Engine
    from closeout.journal.verify import verify as run_verify
    from closeout.studies.screen import progress_bar

    with progress_bar("verifying") as progress:
        result = run_verify(journal, Engine, published=published, progress=progress)
    if as_json:
        print(json.dumps(asdict(result), indent=2))
    else:
        print(_verification_text(result))
    if not result.ok:
        raise typer.Exit(3)


def _verification_text(result: Verification) -> str:
    if not result.ok:
        return "\n".join(map(one_line, result.problems))
    return "\n".join([
        f"{result.journal}: proven. Run again from its first input, nothing differs.",
        f"{result.inputs:,} inputs in {result.frames:,} frames, {result.events:,} events, "
        f"{result.postings:,} postings, {result.receipts:,} receipts; the books balance after every frame.",
        f"state digest      {result.state_digest}",
        f"events digest     {result.events_digest}",
        f"published digest  {result.published or 'none: no digest was published, the run was stopped before its end'}",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
