"""The loss of the bundled encoder's training by epoch, over both runs, from its history."""

import json
from pathlib import Path

import matplotlib.pyplot as plt

import skcnf.datasets

history = json.loads((Path(skcnf.datasets.__file__).parent / "bundled" / "encoder-history.json").read_text())
loss = [record["loss"] for record in history]
second = next(i for i, record in enumerate(history) if i and record["epoch"] == 0)
epochs = range(1, len(loss) + 1)

_, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.plot(epochs[:second], loss[:second], color="#555555", label="first run")
ax.plot(epochs[second:], loss[second:], color="#0072B2", label="second run, rate falling to 0")
rate = ax.twinx()
rate.plot(epochs, [record["learning_rate"] for record in history], ":", color="#D55E00")
rate.set_ylabel("learning rate (dotted)", color="#D55E00")
rate.set_ylim(bottom=0)
ax.set(xlabel="epoch, over both runs", ylabel="loss in nats")
ax.grid(alpha=0.3)
ax.legend(frameon=False)
for axes in (ax, rate):
    axes.spines["top"].set_visible(False)
