"""The FLOX baseline in a process of its own, which `baselines` starts: what it is told comes as a pickle, and so does
the row that it answers with. Its library must be the first to be loaded."""

import importlib
import pickle
import sys

importlib.import_module("lrvx")

from benchmarks.index.baselines import row_of  # noqa: E402
from benchmarks.index.tools import Flox  # noqa: E402

sys.stdout.buffer.write(pickle.dumps(row_of(Flox, *pickle.load(sys.stdin.buffer))))  # noqa: S301
