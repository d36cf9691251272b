"""What one mark costs where a trigger index names who could have crossed a line, and what it costs elsewhere.

    python -m benchmarks index [--json] [--accounts N] [--marks M] [--workload NAME]

    book       a seeded book as columns: accounts, positions, cash, and how far each account is from its line
    paths      seeded marks as columns: a calm walk, a crash, swings about everybody's line
    reference  who falls below the line and at which mark, exactly, by other means than the engine's
    compiled   the compiled baselines: full scan and incremental pass
    tools      the same work in NumPy, SciPy, BLAS, Polars, DuckDB and FLOX
    desk       the engine under test: the one place that knows how a book and marks go into it
    measuring  time, load of the machine, memory
    run        the benchmark: workloads, results, and how they are shown

Every book here has one maintenance rate and one line, and every figure is a whole number of micros without rounding.
That is the easy case for the baselines, whose cost per position is then one multiplication; the engine makes no use
of it.
"""
