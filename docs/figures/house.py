"""The folders of the package on their floors, with an arrow to each folder that they import."""

import importlib.util
from pathlib import Path

import matplotlib.pyplot as plt

import skcnf

package = Path(skcnf.__file__).parent
spec = importlib.util.spec_from_file_location("house", package.parent / "tools" / "house.py")
house = importlib.util.module_from_spec(spec)
spec.loader.exec_module(house)

imports = house.folder_imports(package, {path: path.read_text(encoding="utf-8") for path in package.rglob("*.py")})
floors = [[folder for folder in floor if folder != "__main__"] for floor in house.floors(imports)]
floors = [floor for floor in floors if floor]
places = {
    folder: ((number + 1) / (len(floor) + 1) + 0.04 * (-1) ** level, len(floors) - 1 - level)
    for level, floor in enumerate(floors)
    for number, folder in enumerate(floor)
}

_, ax = plt.subplots(figsize=(9, 0.85 * len(floors)), layout="constrained")
for folder, (x, y) in places.items():
    ax.text(
        x, y, folder, ha="center", va="center", zorder=3,
        bbox={"boxstyle": "round,pad=0.4", "facecolor": "#DCE9F5", "edgecolor": "#0072B2"},
    )  # fmt: skip
    for other in imports[folder]:
        ax.annotate(
            "", places[other], (x, y), zorder=1,
            arrowprops={"arrowstyle": "->", "color": "#8C8C8C", "alpha": 0.5, "shrinkA": 12, "shrinkB": 14},
        )  # fmt: skip
ax.set(xlim=(0, 1), ylim=(-0.5, len(floors) - 0.5))
ax.axis("off")
