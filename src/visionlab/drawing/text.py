"""Numbers, units and names as a person reads them. No matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

LABELS = {
    "mae": "mean absolute error (MAE)",
    "rmse": "root mean square error (RMSE)",
    "bias": "bias (mean error)",
    "r2": "R²",
    "sign_accuracy": "sign accuracy",
    "iou": "intersection over union (IoU)",
    "dice": "Dice coefficient",
    "boundary_f1": "boundary F1",
    "abs_rel": "absolute relative error",
    "log10": "mean log₁₀ error",
    "delta1": "share within factor 1.25 (δ₁)",
    "delta2": "share within factor 1.25² (δ₂)",
    "delta3": "share within factor 1.25³ (δ₃)",
    "ssim": "structural similarity (SSIM)",
    "f1_macro": "macro F1",
    "f1_macro_half": "macro F1 at a threshold of 0.5",
    "f1_macro_gain": "gain in macro F1 over a threshold of 0.5",
    "f1_micro": "micro F1",
    "precision_macro": "macro precision",
    "recall_macro": "macro recall",
    "map": "mean average precision (mAP)",
    "auroc": "macro area under the ROC curve (AUROC)",
    "hamming": "share of wrong labels (Hamming loss)",
    "exact_match": "share of images with all labels right",
    "ece": "macro expected calibration error (ECE)",
    "precision": "precision of objects (IoU ≥ 0.5)",
    "recall": "recall of objects (IoU ≥ 0.5)",
    "f1": "F1 of objects (IoU ≥ 0.5)",
    "seg": "segmentation accuracy of objects (SEG)",
    "det": "detection accuracy of objects (DET)",
    "count_error": "mean error of the number of objects",
}
SHORT_LABELS = {
    "mae": "MAE",
    "rmse": "RMSE",
    "bias": "bias",
    "r2": "R²",
    "sign_accuracy": "sign accuracy",
    "iou": "IoU",
    "dice": "Dice",
    "boundary_f1": "boundary F1",
    "abs_rel": "AbsRel",
    "log10": "log₁₀ error",
    "delta1": "δ < 1.25",
    "delta2": "δ < 1.25²",
    "delta3": "δ < 1.25³",
    "ssim": "SSIM",
    "f1_macro": "macro F1",
    "f1_macro_half": "macro F1 at 0.5",
    "f1_macro_gain": "gain over 0.5",
    "f1_micro": "micro F1",
    "precision_macro": "precision",
    "recall_macro": "recall",
    "map": "mAP",
    "auroc": "AUROC",
    "hamming": "Hamming loss",
    "exact_match": "exact match",
    "ece": "ECE",
    "precision": "object precision",
    "recall": "object recall",
    "f1": "object F1",
    "seg": "SEG",
    "det": "DET",
    "count_error": "count error",
}
INSTANCE_LABELS = {
    "iou": ("2D IoU of {slices}", "2D IoU"),
    "dice": ("2D Dice coefficient of {slices}", "2D Dice"),
    "seg": ("SEG ({volumes})", "SEG ({d})"),
    "det": ("DET ({volumes})", "DET ({d})"),
}
"""Long and short names for heads of instances, whose overlap of slices is no overlap of objects."""
ALIGNED = "aligned_"
"""Before the name of a metric: measured after each image's prediction was scaled to the true median."""
KEY_METRICS = {"regression": "mae", "mask": "iou", "depth": "mae", "multilabel": "f1_macro", "instances": "iou"}
"""Kind of a head -> the metric that says most of it."""
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
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def decimals(value: float, significant: int = 3) -> int:
    """Return the decimal places that show ``value`` with that many significant digits."""
    if value == 0:
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
    if low is not None and high is not None and high > low:
        places = decimals(high - low, 2)
        if middle is not None and abs(middle) >= 0.1 and not entry.get("unit"):
            places = min(places, 4)
        return places if middle is None else max(places, min(decimals(middle, 2), places + 1))
    return None if middle is None or 0 < abs(middle) < 1e-4 else decimals(middle)


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


def shorten(text: Any, limit: int = 28) -> str:
    """Return ``text`` on one line, its middle left out where it is longer than ``limit``."""
    line = " ".join(str(text).split())
    keep = (limit - 1) // 2
    return line if len(line) <= limit else f"{line[: limit - 1 - keep]}…{line[len(line) - keep :]}"


def metric_label(name: str, *, short: bool = False, spec: Mapping[str, Any] | None = None) -> str:
    """Return the words for ``head/metric`` or ``head/column/metric``: ``distance: mean absolute error (MAE)``.

    Args:
        name: of the metric.
        short: whether there is little room.
        spec: the head's entry of run.json, where metrics of one name may mean different things.
    """
    *where, metric = name.split("/")
    plain = metric.removeprefix(ALIGNED)
    aligned = plain != metric
    if spec is not None and spec.get("kind") == "instances" and plain in INSTANCE_LABELS:
        words = _instance_label(plain, short=short, volumes=spec.get("dimensions") == 3)
    else:
        words = (SHORT_LABELS if short or aligned else LABELS).get(plain, plain)
    words += ", scale-aligned" if aligned else ""
    return f"{' / '.join(where)}: {words}" if where else words


def _instance_label(metric: str, *, short: bool, volumes: bool) -> str:
    what = ("slices", "3D volumes", "3D") if volumes else ("images", "2D images", "2D")
    return INSTANCE_LABELS[metric][short].format(**dict(zip(("slices", "volumes", "d"), what, strict=True)))


def key_metric(spec: Mapping[str, Any]) -> str:
    """Return the metric that says most of a head of run.json: its kind's, else the first that it has."""
    key, listed = KEY_METRICS.get(str(spec.get("kind")), ""), [str(name) for name in spec.get("metrics") or ()]
    return key if key in listed or not listed else listed[0]


def duration(seconds: Any) -> str:
    """Return ``1 h 02 min``, ``3 min 20 s`` or ``12 s``."""
    known = number(seconds)
    if known is None or known < 0:
        return "–"
    minutes, rest = divmod(round(known), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def size(n_bytes: Any) -> str:
    """Return a number of bytes as ``12.3 MB``."""
    known = number(n_bytes)
    if known is None:
        return "–"
    power = 0
    while known >= 999.5 and power < 4:
        known, power = known / 1000, power + 1
    return f"{digits(known, None if power else 0)} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
