"""`python -m benchmarks [NAME] [--json]`."""

import argparse
import sys

from benchmarks import NAMES, main
from closeout.core.units import InputError

parser = argparse.ArgumentParser(prog="python -m benchmarks")
parser.add_argument("name", nargs="?", choices=list(NAMES), help="one benchmark; all of them without a name")
parser.add_argument("--json", action="store_true", help="print one JSON document")
parser.add_argument("--accounts", type=int, help="how many accounts (index, recovery)")
parser.add_argument("--inputs", type=int, help="how many inputs (recovery)")
index = parser.add_argument_group("bench index")
index.add_argument("--workload", help="calm, hot, crash, adversarial, growth, sweep or switch")
index.add_argument("--marks", type=int, help="how many marks")
index.add_argument(
    "--flox-all", action="store_true", help="FLOX with more than 100,000 accounts as well: it takes long"
)
index.add_argument("--digest-accounts", type=int, help="accounts that the full scan judges as well")
given = vars(parser.parse_args())
try:
    main(given.pop("name"), as_json=given.pop("json"), **given)
except InputError as bad:
    print(bad, file=sys.stderr)
    raise SystemExit(2) from None
