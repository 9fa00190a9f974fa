"""Sphinx's configuration: ``sphinx-build -W --keep-going -n docs docs/_build/html``."""

from __future__ import annotations

import logging
import sys
import urllib.request
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_sphinx"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import gallery

import skcnf

project, author = "skcnf", "The skcnf developers"
copyright = author
version = release = skcnf.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "matplotlib.sphinxext.plot_directive",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "mathml",
    "measured",
    "names",
]
exclude_patterns = ["_build", "_sphinx", "_templates", "figures", "results/*/*.rst"]
templates_path = ["_templates"]
default_role = "py:obj"
nitpicky = True

# API pages: types stand in the docstrings; members on the page of their class
autodoc_typehints = "none"
autodoc_preserve_defaults = True
autosummary_generate = True
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# Mathematics is drawn by the browser, links to other projects are made where these can be reached.
html_math_renderer = "mathml"
_INVENTORIES = {
    "matplotlib": "https://matplotlib.org/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "pandas": "https://pandas.pydata.org/docs/",
    "python": "https://docs.python.org/3/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
    "sklearn": "https://scikit-learn.org/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/",
}


def _reachable(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}objects.inv", timeout=3) as reply:
            return reply.status == 200
    except OSError:
        return False


with ThreadPoolExecutor(len(_INVENTORIES)) as _pool:  # without a network each takes its whole timeout
    _there = list(_pool.map(_reachable, _INVENTORIES.values()))
intersphinx_mapping = {
    name: (address, None) for (name, address), there in zip(_INVENTORIES.items(), _there, strict=True) if there
}

# Figures drawn from committed results when the site is built
plot_formats = [("png", 150)]
plot_html_show_formats = plot_html_show_source_link = False
plot_include_source = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": gallery.RUN,
    "ignore_pattern": r"__init__\.py",
    "within_subsection_order": "FileNameSortKey",
    "reset_argv": "gallery.arguments",
    "image_scrapers": ("gallery.written_figures",),
    "reset_modules": (),
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "download_all_examples": False,
    "min_reported_time": 1,
    "parallel": False,
}
warnings.filterwarnings("ignore", category=DeprecationWarning)
logging.getLogger("matplotlib").setLevel(logging.ERROR)

html_theme = "pydata_sphinx_theme"
html_title = f"skcnf {release}"
html_static_path = ["_static"]
html_css_files = ["skcnf.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "skcnf"},
    "show_prev_next": True,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "tango",
    "pygments_dark_style": "github-dark",
}
html_sidebars = {"index": [], "contributing": [], "results/README": []}
