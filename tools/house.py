"""Print the house: its folders in floors, drawn from the imports, and how long its functions and files are.

Lengths are lines of code, without docstrings, comments and blank lines. Run from the repository's root::

    python tools/house.py
    python tools/house.py --longest 10
"""

from __future__ import annotations

import argparse
import ast
import io
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def main() -> None:
    parser = argparse.ArgumentParser(description="The folders of the package, its imports and its lengths.")
    parser.add_argument("package", type=Path, nargs="?", default=Path("skcnf"), help="folder (default: skcnf)")
    parser.add_argument("--longest", type=int, default=0, metavar="N", help="name the N longest functions too")
    args = parser.parse_args()
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(args.package.rglob("*.py"))}
    print(house(args.package, sources), end="\n\n")
    print(lengths(args.package, sources, args.longest))


def house(package: Path, sources: dict[Path, str]) -> str:
    """Folders from the roof down, each with its size and the folders that it imports."""
    imports = folder_imports(package, sources)
    files = Counter(_folder(package, path) for path in sources)
    lines: Counter[str] = Counter()
    for path, text in sources.items():
        lines[_folder(package, path)] += len(text.splitlines())
    drawing = []
    for floor in floors(imports):
        drawing += [
            f"  {folder:<12} {files[folder]:>3} files {lines[folder]:>6,} lines   "
            f"{'-> ' + ', '.join(sorted(imports[folder])) if imports[folder] else ''}".rstrip()
            for folder in floor
        ]
        drawing.append("  " + "-" * 76)
    return "\n".join([f"{package.name}, from the roof down; a folder imports only from the floors below it:", *drawing])


def folder_imports(package: Path, sources: dict[Path, str]) -> dict[str, set[str]]:
    """For each folder of the package, the other folders that its modules import."""
    modules = {path: text for path, text in sources.items() if path != package / "__init__.py"}
    imports: dict[str, set[str]] = {_folder(package, path): set() for path in modules}
    for path, text in modules.items():
        folder = _folder(package, path)
        for module in _imported(text):
            root, _, rest = module.partition(".")
            if root == package.name and rest and rest.split(".")[0] in imports:
                imports[folder].add(rest.split(".")[0])
        imports[folder].discard(folder)
    return imports


def floors(imports: dict[str, set[str]]) -> list[list[str]]:
    """Folders by the longest chain of imports below them, the longest first.

    Raises
    ------
    ValueError
        If folders import each other in a circle.
    """
    height: dict[str, int] = {}
    while len(height) < len(imports):
        ready = [folder for folder in imports if folder not in height and imports[folder] <= height.keys()]
        if not ready:
            raise ValueError(f"a circle of imports among {sorted(imports.keys() - height.keys())}")
        height |= {folder: 1 + max((height[other] for other in imports[folder]), default=-1) for folder in ready}
    return [sorted(f for f in height if height[f] == level) for level in range(max(height.values()), -1, -1)]


def lengths(package: Path, sources: dict[Path, str], n_longest: int = 0) -> str:
    """Statistics of functions, and the largest file."""
    functions = [
        (length, f"{path}:{line} {name}")
        for path, text in sources.items()
        for name, line, length in function_lengths(text)
    ]
    numbers = [length for length, _ in functions]
    largest = max(sources, key=lambda path: len(sources[path].splitlines()))
    report = [
        f"{len(sources)} files, {sum(len(code_lines(text)) for text in sources.values()):,} lines of code",
        f"largest file: {largest}, {len(sources[largest].splitlines())} lines",
        f"{len(functions)} functions: median {median(numbers):g} lines, "
        f"{_share(number <= 8 for number in numbers)} of at most 8, {_share(number > 25 for number in numbers)} "
        "of more than 25",
    ]
    return "\n".join([*report, *(f"{length:4}  {name}" for length, name in sorted(functions)[::-1][:n_longest])])


def function_lengths(text: str) -> Iterator[tuple[str, int, int]]:
    """Name, first line and number of code lines of every function; a nested one also counts as part of its outer."""
    code = code_lines(text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, _DEFINITIONS):
            yield node.name, node.lineno, len(code & set(range(node.lineno, (node.end_lineno or node.lineno) + 1)))


def code_lines(text: str) -> set[int]:
    """Numbers of the lines that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines - _docstring_lines(text)


def _docstring_lines(text: str) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, *_DEFINITIONS)) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            lines |= set(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return lines


def _imported(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _folder(package: Path, path: Path) -> str:
    """The folder of a module, or the module itself where it lies in the root."""
    return path.relative_to(package).parts[0].removesuffix(".py")


def _share(flags: Iterator[bool]) -> str:
    values = list(flags)
    return f"{100 * sum(values) / len(values):.1f} %"


if __name__ == "__main__":
    main()
