"""How the gallery runs the scripts of ``examples``: as a shell would, small, with their figures picked up."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst

# Arguments of the scripts that run when the site is built; others are shown with results that were kept.
ARGUMENTS = {
    "alarm_on_images": ["{folder}/alarm.png"],
    "camera_loop": [],
    "plot_closed_form": ["--output", "{folder}/closed_form.png"],
    "plot_decisions": ["--output", "{folder}/decisions.png"],
    "plot_optimum": ["--output", "{folder}/optimum.png"],
}
_folder = tempfile.TemporaryDirectory(prefix="gallery-")


def arguments(gallery_conf: dict[str, Any], script: dict[str, Any]) -> list[str]:
    """Return the command line of a script; figures go to a folder that ``written_figures`` empties."""
    name = Path(script["src_file"]).stem
    return [argument.format(folder=_folder.name) for argument in ARGUMENTS.get(name, [])]


def written_figures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Take the figures that the script has written into the page."""
    taken = []
    for figure in sorted(Path(_folder.name).glob("*.png")):
        place = Path(next(block_vars["image_path_iterator"]))
        place.write_bytes(figure.read_bytes())
        figure.unlink()
        taken.append(str(place))
    return figure_rst(taken, gallery_conf["src_dir"])


RUN = "|".join(rf"{name}\.py" for name in ARGUMENTS)
