"""
An alarm on images
==================

Learn what is normal, set a false-alarm rate, and look at the scores.

Two photographs that come with scikit-learn stand in for a camera: patches of the temple are normal, patches of the
flower are what the alarm is for. Auxiliary images are a broad unlabelled mixture; here, patches of both. The promised
rate of false alarms is about new images of the kind that was fitted: new patches of the left of the temple. Its right,
which no image of the fit has shown, is another kind, and more of it is flagged. With images of your own, pass folders:
``pipeline.fit("normal/", X_aux="anything/")``::

    python examples/alarm_on_images.py [figure.png]
"""

import sys

import numpy as np
import sklearn
from sklearn.datasets import load_sample_images
from sklearn.pipeline import Pipeline

from skcnf import ContrastiveFlowDetector, MocoFeaturizer
from skcnf.display import ScoreHistogramDisplay


def patches(photograph, n, rng, size=48):
    rows, columns = (rng.integers(0, extent - size, n) for extent in photograph.shape[:2])
    return np.stack([photograph[r : r + size, c : c + size] for r, c in zip(rows, columns, strict=True)])


rng = np.random.default_rng(0)
temple, flower = load_sample_images().images
normal = patches(temple[:, :400], 1500, rng)
auxiliary = np.concatenate([patches(temple[:, :400], 750, rng), patches(flower[:, :400], 750, rng)])
new, other_part = patches(temple[:, :400], 400, rng), patches(temple[:, 400:], 400, rng)
anomalies = patches(flower[:, 400:], 400, rng)  # no pixel of these is in an auxiliary image

with sklearn.config_context(enable_metadata_routing=True):
    pipeline = Pipeline(
        [
            ("moco", MocoFeaturizer()),
            ("flow", ContrastiveFlowDetector(n_blocks=4, hidden_units=128, false_alarm_rate=0.05, random_state=0)),
        ],
        transform_input=["X_aux"],
    )
    pipeline.fit(normal, X_aux=auxiliary)

flagged = {
    name: (pipeline.predict(images) == -1).mean()
    for name, images in {"new": new, "other part": other_part, "anomalies": anomalies}.items()
}
print(
    f"false alarms:      {flagged['new']:.1%} of new patches of the part of the temple that was fitted; promised: 5 %"
)
print(f"detected:          {flagged['anomalies']:.1%} of the flower's patches")
print(f"another kind:      {flagged['other part']:.1%} of patches of another part of the temple; nothing is promised")
print(f"epochs kept:       {pipeline['flow'].best_epoch_}")

if len(sys.argv) > 1:
    ScoreHistogramDisplay.from_estimator(
        pipeline, np.concatenate([new, anomalies]), np.repeat([1, -1], 400)
    ).figure_.savefig(sys.argv[1], dpi=150)
