"""An alarm on images: learn what is normal, set a false-alarm rate, and look at the scores.

Two photographs that come with scikit-learn stand in for a camera: patches of the temple are normal, patches of the
flower are what the alarm is for. Auxiliary images are a broad unlabelled mixture; here, patches of both. With images of
your own, pass folders: ``pipeline.fit("normal/", X_aux="anything/")``.

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
# The left of each photograph is for training, the right for the test: no pixel is in both.
normal = patches(temple[:, :400], 1500, rng)
auxiliary = np.concatenate([patches(temple[:, :400], 750, rng), patches(flower[:, :400], 750, rng)])
test = np.concatenate([patches(temple[:, 400:], 400, rng), patches(flower[:, 400:], 400, rng)])
y_test = np.repeat([1, -1], 400)

with sklearn.config_context(enable_metadata_routing=True):
    pipeline = Pipeline(
        [
            ("moco", MocoFeaturizer()),
            ("flow", ContrastiveFlowDetector(n_blocks=4, hidden_units=128, false_alarm_rate=0.05, random_state=0)),
        ],
        transform_input=["X_aux"],
    )
    pipeline.fit(normal, X_aux=auxiliary)

alarms = pipeline.predict(test) == -1
print(f"false alarms: {alarms[y_test == 1].mean():.1%} of patches from another part of the temple")
print(f"detected:     {alarms[y_test == -1].mean():.1%} of the flower's patches")
print(f"epochs kept:  {pipeline['flow'].best_epoch_}")

if len(sys.argv) > 1:
    ScoreHistogramDisplay.from_estimator(pipeline, test, y_test).figure_.savefig(sys.argv[1], dpi=150)
