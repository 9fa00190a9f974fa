"""What the documentation says of the package is true of the package."""

import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

import skcnf

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PUBLIC = (DOCS / "api.rst").read_text(encoding="utf-8")
ROOMS = [name for _, name, is_package in pkgutil.iter_modules(skcnf.__path__) if is_package and name != "_core"]
WRITTEN = ("_build", "api", "gallery")  # by Sphinx, where somebody has built the site
PAGES = sorted(path for path in DOCS.rglob("*.rst") if path.relative_to(DOCS).parts[0] not in (*WRITTEN, "results"))


def _script(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


figures, readme = _script(ROOT / "tools" / "figures.py"), _script(ROOT / "tools" / "readme.py")
check_site = _script(ROOT / "tools" / "check_site.py")
lookup = readme.lookup


# Public names


def _section(title):
    """The part of docs/api.rst below this title."""
    return re.split(r"\n(?=[^\n]+\n-{3,}\n)", PUBLIC.split(f"\n{title}\n---", 1)[1])[0]


def _with_a_page(title):
    return set(re.findall(r"(?m)^   (\w+)$", _section(title)))


def _listed(title):
    """The names of a section: those with a page of their own, constants, and names of other rooms."""
    return _with_a_page(title) | set(re.findall(r"``(\w+)``", _section(title)))


@pytest.mark.parametrize("room", ROOMS)
def test_the_page_of_public_names_lists_each_room(room):
    module = importlib.import_module(f"skcnf.{room}")
    elsewhere = {name for name in skcnf.__all__ if getattr(skcnf, name) is getattr(module, name, None)}
    assert _listed(f"skcnf.{room}") | elsewhere >= set(module.__all__)


def test_the_page_of_public_names_lists_those_of_the_root():
    assert _listed("skcnf") >= set(skcnf.__all__)


@pytest.mark.parametrize("title", ["skcnf", *(f"skcnf.{room}" for room in ROOMS)])
def test_the_page_of_public_names_lists_nothing_else(title):
    assert _with_a_page(title) <= set(importlib.import_module(title).__all__)


# Links and figures in prose


@pytest.mark.parametrize("page", ["README.rst", "CONTRIBUTING.rst"])
def test_links_to_files_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"<([^<>\s]+)>`_", text) if not target.startswith("https://")]
    targets += re.findall(r"(?m)^\.\. image:: (.+)$", text)
    assert [target for target in targets if not (ROOT / target).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_every_figure_that_a_page_names_is_in_the_results(page):
    for reference in lookup.references(page.read_text(encoding="utf-8")):
        assert lookup.measured(reference)


def test_readme_has_the_figures_of_the_results():
    text = (ROOT / "README.rst").read_text(encoding="utf-8")
    assert text == readme.with_results(text), "run python tools/readme.py"
    with pytest.raises(ValueError, match="must hold the lines"):
        readme.with_results(text.replace(readme.END, ""))


# What a page may state with a decimal point: settings, versions and mathematics; nothing that was measured.
SETTINGS = {
    "0.05",
    "0.1",
    "0.2",
    "0.25",
    "0.3",
    "0.5",
    "0.01",
    "0.03",
    "0.97",
    "3.11",
    "3.12",
    "1.0",
    "0.7",
    "0.99",
    "2.5",
}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.rst"], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_measured_figure_is_typed_by_hand(page):
    text = page.read_text(encoding="utf-8")
    text = re.sub(rf"(?s){readme.BEGIN}.*{readme.END}", "", text)
    text = re.sub(r"(?m)^( *)\.\. (code-block|plot|math)::.*\n(?:(?:\1 .*)?\n)*", "", text)
    text = re.sub(r"(?s)::\n\n(?: {4}.*\n|\n)+", "\n", text)
    text = re.sub(r"(?s)``.*?``|:\w+:`.*?`|`.*?`_", "", text)
    assert set(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)", text)) <= SETTINGS


@pytest.mark.parametrize("figure", [name for name in figures.FIGURES if (figures.FOLDER / name).exists()])
def test_kept_figures_show_the_data_of_today(figure):
    text = (figures.FOLDER / figure).with_suffix(".txt").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("from ")] == figures.sources(figure), (
        f"run python tools/figures.py --only {figure}"
    )


# The lookup itself


@pytest.fixture
def results(tmp_path):
    (tmp_path / "t.csv").write_text(
        "row,column,mean,std,paper_mean,paper_std\nCF,mean,87.818,0.018,96.5,\nKNN,mean,86.593,,,\n", encoding="utf-8"
    )
    (tmp_path / "s.txt").write_text("fit\n  skcnf,  all   30.47  (23.6 to 1,038.07)\nscore\n  skcnf, all  +2.7e+04\n")
    return tmp_path


@pytest.mark.parametrize(
    ("reference", "figure"),
    [
        ("t.csv | CF | mean", "87.8 ± 0.0"),
        ("t.csv | CF | mean | alone", "87.8"),
        ("t.csv | CF | mean | paper", "96.5"),
        ("t.csv | KNN | mean", "86.6"),
        ("s.txt | skcnf, all | 1", "30.47"),
        ("s.txt | skcnf, all | 3 | {:.1f}", "1038.1"),
        ("s.txt | score | skcnf, all | 1 | {:,.0f}", "27,000"),
        ("s.txt | fit | 1", "30.47"),
    ],
)
def test_a_reference_names_a_figure(results, reference, figure):
    assert lookup.measured(reference, results) == figure


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("u.csv | CF | mean", "there is no file"),
        ("t.csv | OE | mean", "no figure for 'OE' and 'mean'"),
        ("t.csv | KNN | mean | paper", "no figure for 'KNN'"),
        ("t.csv | KNN | mean | mine", "may be 'alone' or 'paper'; got 'mine'"),
        ("s.txt | score | fit | 1", "'fit' does not follow"),
        ("s.txt | skcnf, all | 4", "3 numbers follow on that line: 30.47, 23.6, 1,038.07"),
    ],
)
def test_a_reference_that_names_none_is_told(results, reference, message):
    with pytest.raises(LookupError, match=re.escape(message)):
        lookup.measured(reference, results)


# The site


def test_the_check_of_the_site_names_lost_links_and_what_is_loaded_from_elsewhere(tmp_path):
    (tmp_path / "a.html").write_text('<h1 id="x"></h1><a href="b.html#y">b</a><a href="https://example.org">out</a>')
    (tmp_path / "b.html").write_text('<h1 id="y"></h1><a href="a.html#x">a</a><img src="picture.png">')
    assert check_site.faults(tmp_path) == ["b.html: picture.png is not there"]
    (tmp_path / "picture.png").touch()
    assert check_site.faults(tmp_path) == []
    (tmp_path / "b.html").write_text('<a href="a.html#z">a</a><script src="https://example.org/x.js"></script>')
    assert check_site.faults(tmp_path) == [
        "a.html: b.html#y is not there",
        "b.html: loads https://example.org/x.js",
        "b.html: a.html#z is not there",
    ]
