"""
An alarm on a camera
====================

Frames arrive one by one, each gets a p-value, and an alarm needs three bad frames in a row.

The camera is made up: a window that wanders over the photographs which come with scikit-learn. It watches the temple,
and for a while somebody holds the flower before it. Frames are never collected, so the loop may run for ever::

    python examples/camera_loop.py [--frames 120]
"""

import argparse
from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_sample_images

from skcnf import ContrastiveFlowDetector, MocoFeaturizer

SIZE, RATE, IN_A_ROW = 48, 0.05, 3


def wander(photograph: np.ndarray, left: int, right: int, seed: int) -> Iterator[np.ndarray]:
    """Frames (48, 48, 3) of a window that drifts over the columns ``left`` to ``right`` of a photograph, for ever."""
    rng = np.random.default_rng(seed)
    low, high = np.array([0, left]), np.array([photograph.shape[0], right]) - SIZE
    place = rng.uniform(low, high)
    while True:
        place = np.clip(place + rng.normal(0, 40, 2), low, high)
        row, column = place.astype(int)
        yield photograph[row : row + SIZE, column : column + SIZE]


def camera(n_frames: int) -> Iterator[np.ndarray]:
    """The temple, with the flower before it from a half to two thirds of the time."""
    temple, flower = (wander(photograph, 400, 640, seed=1) for photograph in load_sample_images().images)
    for number in range(n_frames):
        held = n_frames // 2 <= number < 2 * n_frames // 3
        yield next(flower) if held else next(temple)


def take(frames: Iterator[np.ndarray], n: int) -> np.ndarray:
    return np.stack([next(frames) for _ in range(n)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=120)
    args = parser.parse_args()

    # The left of each photograph is for training, the right for the camera, and no pixel is in both. The camera sees
    # another part of the temple, so other frames of it set the threshold, as those of a normal day would.
    temple, flower = load_sample_images().images
    normal = take(wander(temple, 0, 400, seed=0), 900)
    auxiliary = np.concatenate([take(wander(photograph, 0, 400, seed=2), 450) for photograph in (temple, flower)])
    featurizer = MocoFeaturizer()
    detector = ContrastiveFlowDetector(n_blocks=4, hidden_units=64, false_alarm_rate=RATE, random_state=0)
    detector.fit(featurizer.fit_transform(normal), featurizer.transform(auxiliary))
    detector.recalibrate(featurizer.transform(take(wander(temple, 400, 640, seed=3), 300)))

    n_bad = 0
    for batch in featurizer.stream(camera(args.frames)):  # what the camera gave meanwhile, a frame at least
        for frame in batch:
            if frame.error is not None:  # a frame that cannot be used is no reason to stop
                print(f"frame {frame.name}: {frame.error}")
        frames = [frame for frame in batch if frame.features is not None]
        p_values = detector.p_values(np.stack([frame.features for frame in frames])) if frames else ()
        for frame, p_value in zip(frames, p_values, strict=True):
            n_bad = n_bad + 1 if p_value <= RATE else 0
            if n_bad == IN_A_ROW:
                print(f"frame {frame.name}: alarm, {IN_A_ROW} frames in a row have p-values of at most {RATE}")
    print(f"{args.frames} frames; the flower was there from frame {args.frames // 2} to {2 * args.frames // 3 - 1}")


if __name__ == "__main__":
    main()
