"""Mean AUROC against the time of a fit and of scoring, from docs/results/paper."""

import matplotlib.pyplot as plt
import pandas as pd
from lookup import RESULTS

table = pd.read_csv(RESULTS / "paper" / "table1.csv")
quality = table[table["column"] == "mean"].dropna(subset=["mean"]).set_index("row")["mean"]
rows = pd.read_csv(RESULTS / "paper" / "results.csv", index_col=False)
rows = rows[(rows["dataset"] == "CIFAR-10") & (rows["protocol"] == "one-vs-rest") & (rows["features"] == "moco")]
seconds = (rows["fit_seconds"] + rows["score_seconds"]).groupby(rows["detector"]).median()

_, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
for name in quality.index.intersection(seconds.index):
    if "(" not in name:
        accent = "#0072B2" if name == "CF" else "#555555"
        ax.plot(seconds[name], quality[name], "o", color=accent)
        ax.annotate(name, (seconds[name], quality[name]), (5, 4), textcoords="offset points", color=accent, fontsize=9)
ax.set(xscale="log", xlabel="seconds to fit and to score (median over classes and seeds)", ylabel="mean AUROC in %")
ax.grid(alpha=0.3)
ax.margins(x=0.12, y=0.1)
ax.spines[["top", "right"]].set_visible(False)
