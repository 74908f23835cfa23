"""Measure indexing and splitting of many files: python benchmarks/index.py [number of files, default 400000].

Makes that many empty files in a temporary folder, indexes and splits them, and prints seconds and memory.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path


def peak_mib() -> float:
    """Return the most memory (resident set) that this process has held so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def make_files(root: Path, count: int) -> None:
    """Make empty files of the focus layout: 20 images a group, 10000 files a folder."""
    for i in range(count):
        folder = root / f"plate{i // 10_000:03d}"
        if i % 10_000 == 0:
            folder.mkdir()
        (folder / f"well_{i // 20:06d}_site_3_{1000 + 2.5 * (i % 20):.2f}_{2.5 * (i % 20) - 25:.2f}.png").touch()


def main() -> None:
    """Make the files, then time the index and the split."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400_000
    from visionlab.data.splits import Shares, make_splits
    from visionlab.datasets.focus import index

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        make_files(Path(folder), count)
        print(f"made {count} empty files in {time.perf_counter() - start:.1f} s")
        before = peak_mib()
        start = time.perf_counter()
        table = index(folder)
        indexed = time.perf_counter()
        groups = table["group"].tolist()
        parts = make_splits(groups, Shares(0, 0.2, 0.1)).assign(groups)
        end = time.perf_counter()
    counts = {part: int((parts == part).sum()) for part in ("train", "val", "test")}
    print(f"index {indexed - start:.2f} s, split {end - indexed:.2f} s: {len(table)} images, {counts}")
    print(f"peak memory {peak_mib():.0f} MiB, of which {before:.0f} MiB before (the imports)")


if __name__ == "__main__":
    main()
