"""The project's habits, held by tests: what may import what, what the pure parts must not touch, sizes and links.

Each check is a function from text to faults, so that a test lists everything there is to mend at once.
"""

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "closeout"

# Imports point one way: a part may import itself and the parts of a lower number. A new part needs a place here.
LAYERS = {
    "core": 0,
    "rulebooks": 1,
    "engine": 2,
    "journal": 3,
    "adapters": 3,
    "studies": 4,
    "service": 5,
    "web": 4,
    "cli": 6,
}
PURE = ("core", "rulebooks", "engine")
WITHOUT_INPUT_OUTPUT = ("core", "engine")  # the loader in rulebooks reads files
WITHOUT_FLOAT = ("core", "engine")

IMPURE_MODULES = {"time", "random", "secrets", "uuid", "numpy.random"}
INPUT_OUTPUT_MODULES = {
    "os",
    "io",
    "pathlib",
    "shutil",
    "socket",
    "sqlite3",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
}
CLOCK_CALLS = {"now", "utcnow", "today"}
INPUT_OUTPUT_CALLS = {"open", "print", "input"}

FILE_LINES = 500
FUNCTION_LINES = 60

TEXT_SUFFIXES = {"", ".cfg", ".css", ".csv", ".html", ".json", ".jsonl", ".lock", ".md", ".py", ".svg", ".toml", ".txt"}
TEXT_SUFFIXES |= {".js", ".svelte", ".ts", ".yaml", ".yml", ".sh", ".sql"}


def python_files(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT).as_posix()}:{getattr(node, 'lineno', 0)}"


def project_files() -> list[Path]:
    """The files under version control and those about to be; in a copy without git, all but hidden and built ones."""
    git = shutil.which("git")
    if git and (ROOT / ".git").exists():
        command = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        names = [ROOT / name for name in listed.split("\0") if name]
    else:
        names = [path for path in ROOT.rglob("*") if not {".venv", "build", "dist"} & set(path.relative_to(ROOT).parts)]
    return sorted(path for path in names if path.is_file() and path.suffix in TEXT_SUFFIXES)


# Imports


def imported_modules(tree: ast.AST, package: list[str]) -> Iterator[tuple[ast.AST, str]]:
    """Every module, or name in a module, that a file imports, in full, wherever in the file the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from ((node, f"{base}.{alias.name}") for alias in node.names)


def layer_faults(path: Path) -> Iterator[str]:
    inside = path.relative_to(PACKAGE)
    part = inside.parts[0].removesuffix(".py")
    if part == "__init__":
        return
    if part not in LAYERS:
        yield f"{inside.as_posix()}: {part} has no place in LAYERS"
        return
    for node, name in imported_modules(ast.parse(read(path)), ["closeout", *inside.parts[:-1]]):
        top, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if top != "closeout" or target in ("", "__version__", part):
            continue
        if target not in LAYERS:
            yield f"{place(path, node)}: {name}: {target} has no place in LAYERS"
        elif LAYERS[target] >= LAYERS[part]:
            yield f"{place(path, node)}: {part} imports {target}"


def test_imports_point_one_way() -> None:
    assert [fault for path in python_files(PACKAGE) for fault in layer_faults(path)] == []


# Purity


def called_name(node: ast.Call) -> str:
    """The last part of what is called: `now` for `datetime.now()`."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def is_set(node: ast.expr) -> bool:
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("set", "frozenset")
    return is_call or isinstance(node, ast.Set | ast.SetComp)


def impurities(tree: ast.AST, forbidden_modules: set[str], forbidden_calls: set[str]) -> Iterator[tuple[ast.AST, str]]:
    """What would make an outcome depend on more than the inputs."""
    for node, name in imported_modules(tree, ["closeout"]):
        if any(name == module or name.startswith(f"{module}.") for module in forbidden_modules):
            yield node, f"imports {name}"
    for node in ast.walk(tree):
        match node:
            case ast.Call() if isinstance(node.func, ast.Attribute) and called_name(node) in CLOCK_CALLS:
                yield node, f"calls {called_name(node)}()"
            case ast.Call(func=ast.Attribute(attr="astimezone"), args=[], keywords=[]):
                yield node, "reads the machine's time zone"
            case ast.Call(func=ast.Name(id=name)) if name in forbidden_calls:
                yield node, f"calls {name}()"
            case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "environb" | "getenv" | "urandom" as name):
                yield node, f"uses os.{name}"
            case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr="random"):
                yield node, "uses numpy's randomness"
            case ast.For(iter=source) | ast.comprehension(iter=source) if is_set(source):
                yield source, "goes through a set in no defined order; sort it"
            case _:
                pass


@pytest.mark.rule("G-03")
@pytest.mark.parametrize("part", PURE)
def test_no_clock_randomness_environment_or_set_order(part: str) -> None:
    without_io = part in WITHOUT_INPUT_OUTPUT
    modules = IMPURE_MODULES | (INPUT_OUTPUT_MODULES if without_io else set())
    calls = INPUT_OUTPUT_CALLS if without_io else set[str]()
    faults = [
        f"{place(path, node)}: {fault}"
        for path in python_files(PACKAGE / part)
        for node, fault in impurities(ast.parse(read(path)), modules, calls)
    ]
    assert faults == []


def float_faults(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=float() | complex() as value):
                yield node, f"the float {value!r}"
            case ast.Call(func=ast.Name(id="float")):
                yield node, "a call of float()"
            case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr=name) if re.match(r"(float|double|half)", name):
                yield node, f"the float type {name}"
            case _:
                pass


@pytest.mark.rule("G-01")
@pytest.mark.parametrize("part", WITHOUT_FLOAT)
def test_no_float(part: str) -> None:
    faults = [
        f"{place(path, node)}: {fault}"
        for path in python_files(PACKAGE / part)
        for node, fault in float_faults(ast.parse(read(path)))
    ]
    assert faults == []


@pytest.mark.rule("G-01")
def test_the_engine_divides_integers_only() -> None:
    """`/` makes a float of two integers. In core/ it divides exact Decimals and Fractions where numbers come in."""
    divisions = [
        place(path, node)
        for path in python_files(PACKAGE / "engine")
        for node in ast.walk(ast.parse(read(path)))
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div)
    ]
    assert divisions == []


# Size


def test_files_are_short() -> None:
    lengths = {path: len(read(path).splitlines()) for path in python_files(ROOT / "src", ROOT / "tests")}
    too_long = [f"{path.relative_to(ROOT)}: {lines} lines" for path, lines in lengths.items() if lines > FILE_LINES]
    assert too_long == []


def test_functions_are_short() -> None:
    too_long = [
        f"{place(path, node)}: {node.name}: {lines} lines"
        for path in python_files(ROOT / "src", ROOT / "tests")
        for node in ast.walk(ast.parse(read(path)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]
    assert too_long == []


# Text


def test_the_lock_names_no_address() -> None:
    lock = read(ROOT / "requirements.lock")
    assert "--hash=sha256:" in lock
    addresses = re.compile(r"://|--index-url|--extra-index-url|--find-links|--trusted-host|\s@\s")
    assert [line for line in lock.splitlines() if addresses.search(line)] == []


def lines_matching(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT).as_posix()}:{number}: {line.strip()[:100]}"
        for path in project_files()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if pattern.search(line)
    ]


def test_nothing_is_marked_as_left_to_do() -> None:
    marks = ("TO" + "DO", "FIX" + "ME")  # in halves, so that this line is not one of them
    assert lines_matching(re.compile(rf"\b({'|'.join(marks)})\b")) == []


def test_no_path_of_a_machine() -> None:
    folders = ("work", "home", "root", "Users")
    assert lines_matching(re.compile(rf"(?<![\w.~<>*-])/({'|'.join(folders)})/")) == []


def test_relative_links_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken: list[str] = []
    for page in sorted(pages):
        text = re.sub(r"^```.*?^```", "", read(page), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(<?([^)\s>]+)", text):
            path = target.partition("#")[0]
            if path and not re.match(r"[a-z][a-z+.-]*:", target) and not (page.parent / path).exists():
                broken.append(f"{page.relative_to(ROOT).as_posix()}: {target}")
    assert pages
    assert broken == []
