"""How long the command takes from a cold start.

    python -m benchmarks.start_up [--json]

Each run is a process of its own, the commands in turns, beside an interpreter that does nothing.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import percentiles
from benchmarks.report import main_of, result_of

ROUNDS = 21
ACCOUNT = {
    "account_id": "A1",
    "cash": "1000",
    "rulebook": "reference",
    "positions": [{"contract": "BTCUSDT", "quantity": "0.1", "entry_price": "116830.30"}],
    "marks": {"BTCUSDT": "113000.00"},
}
NOTHING = "python -c pass"


def run(scale: float = 1.0) -> dict[str, Any]:
    """Measure; `scale` shrinks the number of rounds. Rows: command, p50, p99 and worst in ms, and how many ms more than
    an interpreter that does nothing (p50 less p50)."""
    rounds = max(1, int(ROUNDS * scale))
    with tempfile.TemporaryDirectory() as folder:
        account = Path(folder) / "account.json"
        account.write_text(json.dumps(ACCOUNT), encoding="utf-8")
        command = [sys.executable, "-m", "closeout.cli"]
        calls = {
            NOTHING: [sys.executable, "-c", "pass"],
            "closeout --help": [*command, "--help"],
            "closeout rulebooks list": [*command, "rulebooks", "list"],
            "closeout quote ACCOUNT": [*command, "quote", str(account)],
        }
        taken: dict[str, list[int]] = {name: [] for name in calls}
        for number in range(rounds + 1):
            for name, call in calls.items():
                duration = _time(call)
                if number:  # the first round compiles modules and fills the system's cache of files
                    taken[name].append(duration)
    nothing = percentiles(taken[NOTHING])["p50"]
    rows: list[dict[str, Any]] = []
    for name, durations in taken.items():
        spread = percentiles(durations)
        shown = {f"{key} ms": spread[key] / 1e6 for key in ("p50", "p99", "worst")}
        rows.append({"command": name, **shown, "more than nothing, ms": (spread["p50"] - nothing) / 1e6})
    return result_of(
        workload="one account with one position under the reference rulebook; the shipped rulebooks",
        method=f"{ROUNDS} fresh processes of each, in turns, after one that is not counted; wall time until the exit",
        rows=rows,
    )


def _time(call: list[str]) -> int:
    """Nanoseconds until the process has ended; an error if it failed."""
    begun = time.perf_counter_ns()
    done = subprocess.run(call, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    duration = time.perf_counter_ns() - begun
    if done.returncode:
        raise RuntimeError(f"{' '.join(call[1:])} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return duration


main = main_of(run)

if __name__ == "__main__":
    main()
