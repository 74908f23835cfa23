"""Numbers, units and names as a person reads them. No matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

METRIC_WORDS = {
    "mae": ("MAE", "mean absolute error (MAE)"),
    "rmse": ("RMSE", "root mean square error (RMSE)"),
    "bias": ("bias", "bias (mean error)"),
    "r2": ("R²", "R²"),
    "sign_accuracy": ("sign accuracy", "sign accuracy"),
    "iou": ("IoU", "intersection over union (IoU)"),
    "dice": ("Dice", "Dice coefficient"),
    "boundary_f1": ("boundary F1", "boundary F1"),
    "abs_rel": ("AbsRel", "absolute relative error"),
    "log10": ("log₁₀ error", "mean log₁₀ error"),
    "delta1": ("δ < 1.25", "share within factor 1.25 (δ₁)"),
    "delta2": ("δ < 1.25²", "share within factor 1.25² (δ₂)"),
    "delta3": ("δ < 1.25³", "share within factor 1.25³ (δ₃)"),
    "ssim": ("SSIM", "structural similarity (SSIM)"),
    "f1_macro": ("macro F1", "macro F1"),
    "f1_macro_half": ("macro F1 at 0.5", "macro F1 at a threshold of 0.5"),
    "f1_macro_gain": ("gain over 0.5", "gain in macro F1 over a threshold of 0.5"),
    "f1_micro": ("micro F1", "micro F1"),
    "precision_macro": ("precision", "macro precision"),
    "recall_macro": ("recall", "macro recall"),
    "map": ("mAP", "mean average precision (mAP)"),
    "auroc": ("AUROC", "macro area under the ROC curve (AUROC)"),
    "hamming": ("Hamming loss", "share of wrong labels (Hamming loss)"),
    "exact_match": ("exact match", "share of images with all labels right"),
    "ece": ("ECE", "macro expected calibration error (ECE)"),
    "precision": ("object precision", "precision of objects (IoU ≥ 0.5)"),
    "recall": ("object recall", "recall of objects (IoU ≥ 0.5)"),
    "f1": ("object F1", "F1 of objects (IoU ≥ 0.5)"),
    "seg": ("SEG", "segmentation accuracy of objects (SEG)"),
    "det": ("DET", "detection accuracy of objects (DET)"),
    "count_error": ("count error", "mean error of the number of objects"),
}
"""Name of a metric -> its name where there is little room, and where there is more."""
ALIGNED = "aligned_"
"""Before the name of a metric: measured after each image's prediction was scaled to the true median."""
SPLIT_WORDS = {"test": "test", "val": "validation", "train": "training"}
BETTER = {"min": "lower is better", "max": "higher is better", "zero": "nearest 0 is best"}


def unit_text(unit: str | None) -> str:
    """Return the unit as printed: ``um`` in files is ``µm`` on paper."""
    return "µm" if unit == "um" else (unit or "")


def with_unit(text: str, unit: str | None) -> str:
    """Return ``text unit``."""
    return f"{text} {unit_text(unit)}".rstrip()


def axis_label(what: str, unit: str | None) -> str:
    """Return ``what (unit)``, or ``what`` alone where there is no unit."""
    return f"{what} ({unit_text(unit)})" if unit else what


def number(value: Any) -> float | None:
    """Return a finite number, or None for anything else: run folders hold text that nobody has checked."""
    # NumPy's whole numbers, as tables hold them, are none of Python's.
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        return None
    return float(value)


def decimals(value: float, significant: int = 3) -> int:
    """Return the decimal places that show ``value`` with that many significant digits; what isn't finite is as 0."""
    if value == 0 or not math.isfinite(value):
        return significant - 1
    return min(max(significant - 1 - math.floor(math.log10(abs(value))), 0), 8)


def digits(value: Any, places: int | None = None) -> str:
    """Return a number with three significant digits, or with ``places`` decimals; an en dash for no number."""
    known = number(value)
    if known is None:
        return "–"
    if places is None:
        if known != 0 and abs(known) < 1e-4:
            return f"{known:.2e}"
        places = decimals(known)
    text = f"{known:.{places}f}"
    return "0" + text[2:] if text.startswith("-0") and float(text) == 0 else text.replace("-", "−")


def _places(entry: Mapping[str, Any]) -> int | None:
    """Return the decimals of an entry of metrics.json: two significant digits of the width of its interval.

    One more if the value itself needs it to have two; no more than four for shares, which may be next to 1.
    """
    middle, low, high = (number(entry.get(key)) for key in ("value", "low", "high"))
    if middle is None or low is None or high is None or high <= low:
        return None
    places = decimals(high - low, 2)
    if abs(middle) >= 0.1 and not entry.get("unit"):
        places = min(places, 4)
    return max(places, min(decimals(middle, 2), places + 1))


def value(entry: Mapping[str, Any]) -> str:
    """Return ``6.3 µm``: the value of an entry of metrics.json, as exact as its interval is; or ``undefined``."""
    known = number(entry.get("value"))
    return "undefined" if known is None else with_unit(digits(known, _places(entry)), entry.get("unit"))


def interval(entry: Mapping[str, Any]) -> str:
    """Return ``[5.1, 7.4]`` of an entry of metrics.json, or an empty string if it has none."""
    low, high, places = number(entry.get("low")), number(entry.get("high")), _places(entry)
    return "" if low is None or high is None else f"[{digits(low, places)}, {digits(high, places)}]"


def measure(entry: Mapping[str, Any]) -> str:
    """Return ``6.3 µm [5.1, 7.4]``."""
    return f"{value(entry)} {interval(entry)}".rstrip()


def count(n: int, noun: str) -> str:
    """Return ``1 image``, ``2 images``, ``1,234 images``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def listed(names: Sequence[str], limit: int = 6) -> str:
    """Return names divided by commas, the last of many left out."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def shorten(text: Any, limit: int = 28) -> str:
    """Return ``text`` on one line, its middle left out where it is longer than ``limit``."""
    line = " ".join(str(text).split())
    keep = (limit - 1) // 2
    return line if len(line) <= limit else f"{line[: limit - 1 - keep]}…{line[len(line) - keep :]}"


def metric_label(name: str, words: Mapping[str, tuple[str, str]] | None = None, *, short: bool = False) -> str:
    """Return the words for ``head/metric`` or ``head/column/metric``: ``distance: mean absolute error (MAE)``.

    Args:
        name: of the metric.
        words: of a kind of head whose metrics of these names mean something else than usual, see ``METRIC_WORDS``.
        short: whether there is little room.
    """
    *where, metric = name.split("/")
    plain = metric.removeprefix(ALIGNED)
    aligned = ", scale-aligned" if plain != metric else ""
    known = {**METRIC_WORDS, **(words or {})}.get(plain, (plain, plain))[0 if short or aligned else 1]
    return f"{' / '.join(where)}: {known}{aligned}" if where else f"{known}{aligned}"
