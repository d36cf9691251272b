"""The benchmarks behind the README's numbers: one script per claim, each with its baseline in the same run.

python -m benchmarks [NAME] [--json]      (the same as `closeout bench [NAME] [--json]`)

`benchmarks.readme` writes the README's table from the results in `benchmarks/results`.
"""

import importlib
import json
import sys
from typing import Any

NAMES = {
    "scan": "full_scan",
    "replay": "replay_speed",
    "journal": "journal_inputs",
    "durable": "durable",
    "recovery": "recovery",
    "start-up": "start_up",
    "feeds": "feed_load",
    "orders": "order_checks",
    "streams": "streams",
    "pages": "pages",
    "index": "index.run",
}
"""Benchmark -> its module. The scan comes first: it reports the peak of memory of this process."""


OPTIONS = {
    "index": ("workload", "accounts", "marks", "flox_all", "digest_accounts"),
    "recovery": ("accounts", "inputs"),
}
"""The benchmarks that take options, and which."""


def run(name: str, scale: float = 1.0, **options: Any) -> dict[str, Any]:
    """One benchmark's result: `machine`, `workload`, `method` and `rows`. `scale` shrinks the work, for tests;
    `options` are those of the benchmark's own `run`.

    `InputError` for a name or a workload that there is not.
    """
    from closeout.core.units import InputError

    if name not in NAMES:
        raise InputError(f"bench: expected one of {', '.join(NAMES)}, not {name!r}")
    module = importlib.import_module(f"benchmarks.{NAMES[name]}")
    return module.run(scale=scale, **options)


def main(name: str | None = None, *, as_json: bool = False, scale: float = 1.0, **options: Any) -> None:
    """Run one benchmark and print it, or all and print the README's table; progress goes to standard error. Options
    that are None are not set."""
    from benchmarks.report import markdown_of, text_of
    from closeout.core.units import InputError

    options = {key: value for key, value in options.items() if value}
    for key in options:
        if key not in OPTIONS.get(name or "", ()):
            owners = " and ".join(f"`bench {owner}`" for owner, keys in OPTIONS.items() if key in keys)
            raise InputError(f"bench: --{key.replace('_', '-')} belongs to {owners} alone")
    if name is not None:
        result = run(name, scale, **options)
        print(json.dumps(result, indent=2) if as_json else text_of(result))
        return
    results: dict[str, dict[str, Any]] = {}
    for each in NAMES:
        print(f"bench: {each}", file=sys.stderr, flush=True)
        try:
            results[each] = run(each, scale)
        except InputError as missing:  # what it needs is not part of the project
            print(missing, file=sys.stderr, flush=True)
    print(json.dumps(results, indent=2) if as_json else markdown_of(results))
