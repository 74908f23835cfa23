"""Measure the search for the thresholds of the highest F1 against a loop over scikit-learn's precision_recall_curve.

    python benchmarks/thresholds.py

Both get the same scores and labels; that the F1 of every class is the same is checked first, and that our thresholds
give just that F1. 28 classes have the counts of the Human Protein Atlas set of 2018, 1,000 classes shares from 0.01% to
40%.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve

from visionlab.metrics import f1_thresholds

ATLAS = [
    *(12885, 1254, 3621, 1561, 1858, 2513, 1008, 2822, 53, 45, 28, 1093, 688, 537),
    *(1066, 21, 530, 210, 902, 1482, 172, 3777, 802, 2965, 322, 8228, 328, 11),
]
SAMPLES = 31_072  # of the Human Protein Atlas set
LARGE = (100_000, 1_000)

Pair = tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.bool_]]


def peer(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the highest F1 of each class by scikit-learn's curves."""
    best = np.empty(scores.shape[1])
    for c in range(scores.shape[1]):
        precision, recall, _ = precision_recall_curve(labels[:, c], scores[:, c])
        best[c] = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
    return best


def made(samples: int, shares: npt.NDArray[np.float64], kind: type[np.floating[Any]]) -> Pair:
    """Return scores and labels: logits of a normal distribution, 2.5 higher on average for positives, least 2 each."""
    rng = np.random.default_rng(0)
    scores = np.empty((samples, len(shares)), kind)
    labels = np.zeros((samples, len(shares)), bool)
    for c, share in enumerate(shares):
        labels[rng.permutation(samples)[: max(2, round(share * samples))], c] = True
        logits = rng.standard_normal(samples) + 2.5 * labels[:, c] + np.log(share)
        scores[:, c] = 1 / (1 + np.exp(-logits))
    return scores, labels


def seconds(search: Callable[..., Any], scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> float:
    """Return how long a search takes."""
    start = time.perf_counter()
    search(scores, labels)
    return time.perf_counter() - start


def check_same(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
    """Stop unless the F1 of each class is the peer's, and what our threshold gives, to 1e-12."""
    thresholds, best = f1_thresholds(scores, labels)
    assert np.abs(best - peer(scores, labels)).max() < 1e-12, "the F1 differs"
    for c, threshold in enumerate(thresholds):
        predicted = scores[:, c] >= threshold
        given = 2 * (predicted & labels[:, c]).sum() / (predicted.sum() + labels[:, c].sum())
        assert abs(given - best[c]) < 1e-12, f"class {c}: the threshold gives {given}, not {best[c]}"


def main() -> None:
    """Check, then time, ours and the peer's in turn."""
    atlas, spread = np.array(ATLAS) / SAMPLES, np.geomspace(1e-4, 0.4, LARGE[1])
    print("milliseconds, median (fastest to slowest); ratio: scikit-learn to visionlab")
    print(f"{'samples x classes':>20}{'type':>9}{'rounds':>8}{'visionlab':>24}{'scikit-learn':>30}{'ratio':>7}")
    for samples, shares, kind, rounds in (
        (SAMPLES, atlas, np.float32, 7),
        (SAMPLES, atlas, np.float64, 7),
        (LARGE[0], spread, np.float32, 3),
    ):
        scores, labels = made(samples, shares, kind)
        check_same(scores, labels)
        taken = [(seconds(f1_thresholds, scores, labels), seconds(peer, scores, labels)) for _ in range(rounds)]
        columns = [[1e3 * value for value in column] for column in zip(*taken, strict=True)]
        middle = [statistics.median(column) for column in columns]
        mine, other = (
            f"{m:.1f} ({min(column):.1f} to {max(column):.1f})" for m, column in zip(middle, columns, strict=True)
        )
        size = f"{samples} x {len(shares)}"
        print(f"{size:>20}{kind.__name__:>9}{rounds:>8}{mine:>24}{other:>30}{middle[1] / middle[0]:>7.1f}")


if __name__ == "__main__":
    main()
