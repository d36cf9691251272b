"""The benchmark itself: what is run for each workload, and what comes of it."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.index import baselines, book, paths, reference, switch
from benchmarks.index.book import CONTRACTS, Columns, Shape
from benchmarks.index.compiled import FullScan, Incremental
from benchmarks.index.desk import CROSSED, LOOSE, TOUCHED, Desk, Finding
from benchmarks.index.measuring import Load, Memory, say, spread, timed
from benchmarks.index.paths import Path
from benchmarks.measure import machine
from closeout.core.units import InputError

ACCOUNTS = MARKS = 1_000_000
PACKED = 10_000
"""Batches in a command, each judged for itself."""
PACKED_CRASH = 1_000
SINGLY = 20_000
"""Marks given in a command each, for the percentiles."""
SAMPLED = 1_000
"""Marks at the end of the path that the baselines may be given."""
DIGEST_ACCOUNTS, DIGEST_MARKS, ROUGH = 20_000, 2_000, 20
"""Accounts and marks that the full scan judges too, and how much larger the steps of a calm walk are for it."""
GROWTH = (10_000, 100_000, 1_000_000, 3_000_000)
GROWTH_MARKS = 200_000
GROWTH_FROM, GROWTH_NEAR, GROWTH_FAR = 1, 2_500, 0.3
SWEEP_ACCOUNTS, SWEEP_MARKS = 100_000, 100_000
SWEEP_SHARES, SWEEP_STEPS = (0.001, 0.01, 0.1), (1, 10, 100)
SWINGS = 2_000
SCANS = 5

METHOD = (
    "closeout: `Engine.apply` on packed marks, each an atomic batch with its verdicts, close-out orders begun and "
    "events; fills and their postings timed apart. Baselines: the last marks of the same path over the same book, each "
    "for 2 s or 1,000 marks, nothing closed in it, their accounts compared with an int64 reference at the first and "
    "last three marks; one maintenance rate and no tiers, so one coefficient a position. Ratios: a baseline's median "
    "mark to closeout's mean. FLOX walks all accounts at each mark and is given at most 100,000 accounts: attaching a "
    "million takes minutes"
)
KEYS = (
    "accounts", "positions", "contracts", "marks", "share_near", "path", "packed", "crossings_per_mark",
    "touched_per_mark", "most_touched", "loose", "resets", "ns_per_mark", "median_ns_per_mark", "finding_ns_per_mark",
    "marks_per_second", "single_marks",
    "fallen", "fallen_share", "fallen_as_reference", "order_as_reference", "close_out_orders", "owing", "marks_seconds",
    "fills_seconds", "opening_seconds", "index_seconds", "compiling_seconds", "peak_bytes_per_account",
    "imbalances", "load_of_others", "ratio_to_incremental", "ratio_to_full_scan", "finding_ratio_to_incremental",
    "finding_ratio_to_full_scan", "worst_batch_ms", "worst_batch_to_full_scan", "worst_batch_to_exact_scan",
    "worst_batch_to_compiled_scan", "growth_100k_to_3M", "growth_factor",
    "digest_equal", "events_equal", "digest_accounts", "digest_batches", "digest_fallen", "digest_seconds",
)  # fmt: skip

Result = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """A book and the marks for it; `packed` marks go into a command. `rough`: fewer batches of that kind, which take
    many accounts below their line all the same: these the full scan judges too, over up to `scanned` accounts."""

    shape: Callable[[int], Shape]
    path: Callable[[Any, int], Path]
    rough: Callable[[Any, int], Path]
    packed: int = PACKED
    marks: int = MARKS
    scanned: int = DIGEST_ACCOUNTS


def _rough(opening: Any, marks: int) -> Path:
    return paths.calm(opening, marks, step=ROUGH * paths.CALM_STEP)


WORKLOADS = {
    "calm": Workload(Shape, paths.calm, _rough),
    "hot": Workload(
        lambda accounts: Shape(accounts, hot=True), lambda opening, marks: paths.calm(opening, marks, only=0), _rough
    ),
    "crash": Workload(
        lambda accounts: Shape(accounts, far_from=0.05, far_spread=0.25, long=0.7),
        paths.crash,
        lambda opening, marks: paths.crash(opening, marks, together=True),
        PACKED_CRASH,
        scanned=ACCOUNTS,
    ),
    "adversarial": Workload(
        lambda accounts: Shape(accounts, ticks=2),
        lambda opening, marks: paths.swings(opening, marks, 1),
        lambda opening, marks: paths.swings(opening, marks, 1, amplitude=3),
        1,
        SWINGS,
    ),
}
NAMES = (*WORKLOADS, "growth", "sweep", "switch")


def run(
    scale: float = 1.0,
    *,
    workload: str = "calm",
    accounts: int | None = None,
    marks: int | None = None,
    flox_all: bool = False,
    digest_accounts: int | None = None,
) -> Result:
    """Measure one workload; `scale` shrinks it where no sizes are given. The keys are those of `_empty`."""
    if workload not in NAMES:
        raise InputError(f"bench index: --workload: expected one of {', '.join(NAMES)}, not {workload!r}")
    kind = WORKLOADS.get(workload, WORKLOADS["calm"])
    accounts = max(100, int(ACCOUNTS * scale)) if accounts is None else accounts
    marks = max(200, int(kind.marks * scale)) if marks is None else marks
    if accounts < 100 or marks < 100:
        raise InputError("bench index: --accounts and --marks must be at least 100")
    result = _empty(workload)
    say("compiling what is not compiled yet")
    result["compiling_seconds"] = _compiled() / 1e9
    if workload == "sweep":
        return result | _sweep(min(accounts, SWEEP_ACCOUNTS), min(marks, SWEEP_MARKS))
    if workload == "growth":
        return result | _growth(accounts, marks)
    if workload == "switch":
        return result | switch.measured(accounts)
    result |= _main(kind, accounts, marks)
    if workload == "adversarial":
        result |= _batches(kind.shape(accounts), marks)
    result |= _compared(kind, accounts, marks, result["ns_per_mark"], flox_all)
    for name in ("incremental", "full_scan"):
        ratio = result[f"ratio_to_{name}"]
        found_in = result["finding_ns_per_mark"]
        result[f"finding_ratio_to_{name}"] = ratio * result["ns_per_mark"] / found_in if ratio and found_in else None
    scanned = min(accounts, kind.scanned if digest_accounts is None else digest_accounts)
    result |= _digests(kind, scanned, min(marks, DIGEST_MARKS))
    if workload == "calm":
        grown = _growth(accounts, marks)
        result |= {key: grown[key] for key in ("growth_100k_to_3M", "growth_factor", "growth")}
    return result


def _empty(workload: str) -> Result:
    """Every key that a result has, whatever was run."""
    told = {"name": workload, "machine": machine(), "workload": workload, "method": METHOD}
    return told | dict.fromkeys(KEYS) | {"rows": [], "growth": [], "sweep": [], "switch": []}


def _main(kind: Workload, accounts: int, marks: int) -> Result:
    """The engine over the whole path, and whether it found whom the reference finds, in the same order."""
    shape = kind.shape(accounts)
    say(f"drawing {accounts:,} accounts")
    columns = book.draw(shape)
    path = kind.path(columns.opening, marks)
    say(f"the reference over {len(path):,} marks")
    expected = reference.order_of(reference.first_breaches(columns, path))
    say("the engine")
    with Memory() as memory, Load() as load:
        under_test = Desk(columns)
        settled, before = under_test.settle(), under_test.counted()
        singly = min(len(path) // 5, SINGLY)
        each = under_test.play(path.part(0, singly), 1)
        with Finding() as finding:
            packed = under_test.play(path.part(singly, len(path)), kind.packed)
    per_mark = sum(packed) / (len(path) - singly)
    return {
        "accounts": accounts,
        "positions": columns.positions,
        "contracts": CONTRACTS,
        "marks": len(path),
        "workload": f"{path.label}; {shape.text()}",
        "share_near": columns.near(columns.opening) / accounts,
        "path": path.label,
        "packed": kind.packed,
        **_counts(before, under_test.counted(), len(path)),
        "most_touched": max(under_test.touched[:singly]) if before else None,
        "ns_per_mark": per_mark,
        "finding_ns_per_mark": finding.spent / (len(path) - singly),
        "median_ns_per_mark": statistics.median(packed) * len(packed) / (len(path) - singly),
        "marks_per_second": 1e9 / per_mark,
        "single_marks": {"samples": singly, **spread(each)},
        "fallen": len(under_test.fallen),
        "fallen_share": len(under_test.fallen) / accounts,
        "fallen_as_reference": sorted(under_test.fallen) == sorted(expected.tolist()),
        "order_as_reference": under_test.fallen == expected.tolist(),
        "close_out_orders": under_test.fills,
        "owing": under_test.owing(),
        "marks_seconds": under_test.applied / 1e9,
        "fills_seconds": under_test.filled / 1e9,
        "opening_seconds": under_test.opened,
        "index_seconds": sum(settled) / 1e9,
        "peak_bytes_per_account": memory.grown / accounts,
        "imbalances": len(under_test.engine.imbalances()),
        "load_of_others": load.others,
    }


def _compiled() -> int:
    """Play a rough walk over a few accounts, so that no compilation is timed later; returns the nanoseconds it took."""
    columns = book.draw(Shape(100, share_near=0.5))
    path = _rough(columns.opening, 200)

    def play() -> None:
        under_test = Desk(columns)
        under_test.settle()
        under_test.play(path, len(path))

    return timed(play)[0]


def _counts(before: dict[str, int], after: dict[str, int], marks: int) -> Result:
    """What the index counted meanwhile, by mark; nothing where there is no index."""
    if not before:
        return {}
    return {
        "crossings_per_mark": (after[CROSSED] - before[CROSSED]) / marks,
        "touched_per_mark": (after[TOUCHED] - before[TOUCHED]) / marks,
        "loose": after[LOOSE],
        "resets": after["resets"] - before["resets"],
    }


def _compared(kind: Workload, accounts: int, marks: int, per_mark: float, flox_all: bool) -> Result:
    """The baselines, and how many times as long the compiled ones take for a mark."""
    columns = book.draw(kind.shape(accounts))
    path = kind.path(columns.opening, marks)
    begin = max(0, len(path) - SAMPLED)
    rows = list(baselines.measure(columns, path, begin, flox_all=flox_all))
    for row in rows:
        comparable = row["accounts"] == accounts and "p50 us" in row
        row["it / closeout"] = row["p50 us"] * 1000 / per_mark if comparable else None
    ratio = {row["method"]: row["it / closeout"] for row in rows}
    return {
        "rows": rows,
        "ratio_to_incremental": ratio[Incremental.name],
        "ratio_to_full_scan": ratio[FullScan.name],
    }


def _batches(shape: Shape, marks: int) -> Result:
    """The adversarial book under atomic batches of all contracts at once, beside full scans of the same book."""
    columns = book.draw(shape)
    path = paths.swings(columns.opening, max(5, marks // CONTRACTS), CONTRACTS)
    under_test, by_scan = Desk(columns), Desk(columns, judged_by_scan=True)
    say("batches of all contracts")
    under_test.settle()
    batches = under_test.play(path, 1)
    scans = by_scan.play(path.part(0, SCANS * CONTRACTS), 1)
    compiled = FullScan(columns, columns.opening)
    compiled.mark(0, int(columns.opening[0]))
    bare = [timed(lambda: compiled.mark(0, int(columns.opening[0])))[0] for _ in range(SCANS)]
    exact = [timed(under_test.judge_everybody)[0] for _ in range(SCANS + 1)][1:]
    worst = max(batches)
    return {
        "worst_batch_ms": worst / 1e6,
        "most_touched": max(under_test.touched) if under_test.counted() else None,
        "worst_batch_to_full_scan": worst / statistics.median(scans),
        "worst_batch_to_exact_scan": worst / statistics.median(exact),
        "worst_batch_to_compiled_scan": worst / statistics.median(bare),
    }


def _digests(kind: Workload, accounts: int, marks: int) -> Result:
    """The same marks through the index and through the full scan: same digest, same events in the same order."""
    say(f"index against full scan: digests of {accounts:,} accounts")
    columns = book.draw(kind.shape(accounts))
    path = kind.rough(columns.opening, marks)
    desks = [Desk(columns, judged_by_scan=scan) for scan in (False, True)]
    for one in desks:
        one.play(path, kind.packed)
    ours, theirs = desks
    return {
        "digest_equal": ours.engine.digest() == theirs.engine.digest(),
        "events_equal": ours.seen.digest() == theirs.seen.digest() and ours.fallen == theirs.fallen,
        "digest_accounts": accounts,
        "digest_batches": len(path.bounds()) - 1,
        "digest_fallen": len(ours.fallen),
        "digest_seconds": {"index": ours.applied / 1e9, "full scan": theirs.applied / 1e9},
    }


def _growth(accounts: int, marks: int) -> Result:
    """The same marks over books of more and more accounts, of which as many are near their line in each and no other
    can be reached: so they cross the same number of triggers."""
    full = accounts >= GROWTH[GROWTH_FROM]
    sizes = GROWTH if full else (max(100, accounts // 10), accounts, 3 * accounts)
    near = min(GROWTH_NEAR, sizes[0] // 4)
    rows: list[Result] = []
    for size in sizes:
        say(f"growth: {size:,} accounts")
        columns = book.draw(Shape(size, near=near, far_from=GROWTH_FAR))
        path = paths.calm(columns.opening, min(marks, GROWTH_MARKS))
        rows.append({"accounts": size, "positions": columns.positions, **_played(columns, path)})
    factor = rows[-1]["ns a mark"] / rows[GROWTH_FROM if full else 0]["ns a mark"]
    return {
        "accounts": sizes[-1],
        "positions": rows[-1]["positions"],
        "contracts": CONTRACTS,
        "marks": min(marks, GROWTH_MARKS),
        "workload": replace(Shape(sizes[-1]), near=near, far_from=GROWTH_FAR).text(),
        "path": "calm walk",
        "method": "The same packed marks for each book once its index has settled; the median command",
        "growth": rows,
        "growth_factor": factor,
        "growth_100k_to_3M": factor if full else None,
    }


def _sweep(accounts: int, marks: int) -> Result:
    """Shares of accounts near their line, and steps of the walk, which set how many triggers a mark crosses."""
    rows: list[Result] = []
    for share in SWEEP_SHARES:
        columns = book.draw(Shape(accounts, share_near=share))
        for times in SWEEP_STEPS:
            say(f"sweep: {share:.1%} near, steps times {times}")
            path = paths.calm(columns.opening, marks, step=paths.CALM_STEP * times)
            played = _played(columns, path)
            passes = baselines.row_of(Incremental, "Numba", columns, path.part(0, SAMPLED), columns.opening)
            relative = {
                "incremental us": passes["p50 us"],
                "it / closeout": passes["p50 us"] * 1000 / played["ns a mark"],
            }
            rows.append({"share near": f"{share:.1%}", "step": f"{paths.CALM_STEP * times:.3%}", **played, **relative})
    return {
        "accounts": accounts,
        "contracts": CONTRACTS,
        "marks": marks,
        "workload": f"calm walks of several steps over books of several shares near the line, seed {book.SEED}",
        "method": "The median command of packed marks; the compiled incremental pass on the same marks, its median",
        "sweep": rows,
    }


def _played(columns: Columns, path: Path) -> Result:
    """The engine over a path, packed; by the median command."""
    under_test = Desk(columns)
    settled, before = under_test.settle(), under_test.counted()
    size = max(1, min(PACKED, len(path) // 20))
    with Load() as load:
        under_test.play(path.part(0, size), size)
        taken = under_test.play(path.part(size, len(path)), size)
    counts = _counts(before, under_test.counted(), len(path))
    return {
        "ns a mark": statistics.median(taken) * len(taken) / (len(path) - size),
        "crossings a mark": counts.get("crossings_per_mark"),
        "touched a mark": counts.get("touched_per_mark"),
        "fallen": len(under_test.fallen),
        "opening s": under_test.opened + sum(settled) / 1e9,
        "load of others": load.others,
    }
