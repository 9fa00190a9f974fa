"""Figures of ablations from their committed tables."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from lookup import RESULTS

from skcnf.display import AblationDisplay
from skcnf.paper import ABLATIONS


def draw(name: str) -> AblationDisplay:
    """Draw the mean over all classes of each line of an ablation, as `skcnf benchmark --ablation` does."""
    table = pd.read_csv(next(RESULTS.glob(f"**/ablation-{name}.csv")))
    means = table[table["column"] == "mean"].set_index("row")
    layout = ABLATIONS[name]
    index = list(dict.fromkeys(value for points in layout.lines.values() for value in points))
    frames = {
        column: pd.DataFrame(
            {
                line: {value: means[column].get(row) for value, row in points.items()}
                for line, points in layout.lines.items()
            },
            index=index,
            dtype=float,
        )
        for column in ("mean", "std")
    }
    _, ax = plt.subplots(figsize=(7.6, 3.8), layout="constrained")
    return AblationDisplay.from_frame(frames["mean"], frames["std"], label=layout.axis, ax=ax)
