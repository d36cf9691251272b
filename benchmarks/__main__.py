"""`python -m benchmarks [NAME] [--json]`."""

import argparse

from benchmarks import NAMES, main

parser = argparse.ArgumentParser(prog="python -m benchmarks")
parser.add_argument("name", nargs="?", choices=list(NAMES), help="one benchmark; all of them without a name")
parser.add_argument("--json", action="store_true", help="print one JSON document")
given = parser.parse_args()
main(given.name, as_json=given.json)
