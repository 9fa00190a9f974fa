"""AUROC by epoch, plain and averaged weights, from docs/results/averaging.txt."""

import matplotlib.pyplot as plt
from lookup import RESULTS


def curves(title):
    """Epochs and, for each kind of weights, the AUROC after each of them."""
    lines = (RESULTS / "averaging.txt").read_text(encoding="utf-8").split(f"\n{title}:", 1)[1].splitlines()[3:]
    found = {}
    for line in lines:
        if not line.strip():
            return found
        name, *values = line.rsplit(maxsplit=lines[0].count("."))
        found[name.strip()] = [float(value) for value in values]
    return found


STYLES = {"plain": ("#8C8C8C", "plain weights"), "0.97, k = 4": ("#0072B2", "averaged weights (the default)")}
_, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharex=True, layout="constrained")
for ax, title in zip(axes, ("CF", "Flow"), strict=True):
    for name, values in curves(title).items():
        if name in STYLES:
            colour, label = STYLES[name]
            ax.plot(range(1, len(values) + 1), values, color=colour, marker="o", markersize=4, label=label)
    ax.set(title=title, xlabel="epoch", ylabel="mean AUROC in %")
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].legend(frameon=False)
