"""Write the README's tables of speed from the results that lie in `benchmarks/results`, and nothing else.

    closeout bench index --json > benchmarks/results/index.json
    closeout bench index --workload crash --json > benchmarks/results/index.crash.json
    python -m benchmarks.readme

A table stands between two comments, of which the first names its results in their order: ``<!-- benchmarks: index
index.crash -->`` and ``<!-- end of benchmarks -->``. A result that has no file has no lines.
"""

import json
import re
from pathlib import Path

from benchmarks.report import markdown_of

ROOT = Path(__file__).resolve().parents[1]
README, RESULTS = ROOT / "README.md", ROOT / "benchmarks" / "results"
TABLE = re.compile(r"(<!-- benchmarks: ([\w. -]+?) -->\n).*?(<!-- end of benchmarks -->)", re.DOTALL)


def written(text: str, folder: Path) -> str:
    """The text with each of its tables as the results in the folder make it."""

    def table(found: re.Match[str]) -> str:
        files = {name: folder / f"{name}.json" for name in found[2].split()}
        results = {name: json.loads(file.read_text("utf-8")) for name, file in files.items() if file.is_file()}
        lines = f"\n{markdown_of(results)}\n\n" if results else ""
        return f"{found[1]}{lines}{found[3]}"

    return TABLE.sub(table, text)


if __name__ == "__main__":
    README.write_text(written(README.read_text("utf-8"), RESULTS), "utf-8")
