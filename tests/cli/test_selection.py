"""Thresholds of a selection: a row is an anomaly exactly where its score lies below its own."""

import numpy as np
import pytest

from skcnf import MSEDetector
from skcnf.cli._rows import Row
from skcnf.cli._selection import selected_rows


@pytest.mark.filterwarnings("ignore::UserWarning")  # of few calibration rows
def test_thresholds_agree_with_verdicts_in_groups_of_unequal_sizes():
    rng = np.random.default_rng(0)
    detector = MSEDetector(contamination=0.1, random_state=0).fit(rng.normal(size=(200, 3)))
    groups = np.repeat(["a", "b"], [300, 37])
    detector.recalibrate(rng.normal(size=(337, 3)), groups=groups)
    n_selected = 0
    for _ in range(20):
        X = rng.normal(scale=1.8, size=(120, 3))
        own = np.repeat(["a", "b"], 60)
        scores, p = detector.score_samples(X), detector.p_values(X, groups=own)
        rows = [Row(str(k), "ok", scores[k], p[k], None, None, own[k]) for k in range(len(X))]
        for row in selected_rows(lambda rows=rows: rows, detector, 0.3):
            below = row.threshold is not None and row.score < row.threshold
            assert below == (row.verdict == -1), row
            n_selected += below
    assert n_selected > 100
