"""How often samples with several labels are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from visionlab.datasets.protein_atlas import sample_weights


def test_a_sample_weighs_as_its_rarest_label() -> None:
    # Label 0: four samples, label 1: two, label 2: one; the last sample has none and weighs as label 0.
    labels = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 0, 0]])
    balanced = np.array([1 / 4, 1 / 2, 1, 1 / 4, 1 / 4])
    np.testing.assert_allclose(sample_weights(labels, "balanced"), balanced / balanced.sum())
    root = np.array([1 / 2, 1 / 2**0.5, 1, 1 / 2, 1 / 2])
    np.testing.assert_allclose(sample_weights(labels, "sqrt"), root / root.sum())


def test_single_labels_are_drawn_equally_often_when_balanced() -> None:
    labels = np.repeat(np.eye(3, dtype=np.uint8), [100, 10, 1], axis=0)
    chances = sample_weights(labels, "balanced") @ labels
    np.testing.assert_allclose(chances, 1 / 3)
    root = sample_weights(labels, "sqrt") @ labels
    assert 1 / 111 < root[2] < 1 / 3
    np.testing.assert_allclose(root[0] / root[2], 10)


@pytest.mark.parametrize("method", ["sqrt", "balanced"])
@pytest.mark.parametrize("labels", [np.zeros((4, 3)), np.zeros((4, 0)), np.ones((4, 2))])
def test_samples_without_a_difference_are_drawn_alike(method: str, labels: np.ndarray) -> None:
    weights = sample_weights(labels, method)  # type: ignore[arg-type]
    assert weights.dtype == np.float64
    np.testing.assert_allclose(weights, 0.25)
