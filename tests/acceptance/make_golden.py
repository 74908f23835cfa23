"""Write ``golden/`` from the visionlab that is imported: ``python -m tests.acceptance.make_golden [CASE ...]``.

It is to be run on a checkout of the commit whose numbers are to be kept, which ``made.json`` then names. Do so only to
change what is expected, and say in the commit which number changed and why.
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

import visionlab
from tests.acceptance.conftest import run_command
from tests.acceptance.golden_cases import (
    CASES,
    COMMON,
    EXPECTED,
    GOLDEN,
    ROOT,
    TEXT,
    Array,
    Case,
    lay_out,
    machine,
    numbers,
    train,
)

KEPT = ("config.yaml", "splits.json", "data_index.csv", "data_card.json", "run.json", "status.json", "metrics.json")
SIZES: dict[str, tuple[dict[str, int], dict[str, int]]] = {
    "focus": ({"fields": 6, "heights": 5, "image_size": 32}, {"fields": 3, "heights": 3, "image_size": 32}),
    "depth_mask": (
        {"backgrounds": 7, "per_background": 2, "image_size": 40},
        {"backgrounds": 3, "per_background": 1, "image_size": 40},
    ),
    "protein_atlas": (
        {"images": 40, "test_images": 2, "image_size": 48},
        {"images": 8, "test_images": 2, "image_size": 48},
    ),
    "celegans_nuclei": (
        {"sequences": 3, "frames": 3, "planes": 12, "width": 48},
        {"sequences": 1, "frames": 2, "planes": 12, "width": 48},
    ),
    "celegans_membrane": (
        {"embryos": 3, "planes": 8, "width": 48},
        {"embryos": 1, "planes": 8, "width": 48},
    ),
    "celegans_lineage": (
        {"embryos": 5, "frames": 3, "image_size": 40},
        {"embryos": 2, "frames": 2, "image_size": 40},
    ),
}


def main() -> None:
    """Write the cases named on the command line, or all."""
    names = sys.argv[1:] or list(CASES)
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            # Short and without links, as the paths are in the files of runs.
            os.environ["VISIONLAB_CACHE"] = str(Path(folder) / "cache")
            write(CASES[name], Path(folder).resolve() / "case")
    commit = ["git", "-C", str(Path(visionlab.__file__).parent), "rev-parse", "HEAD"]
    made = {
        "commit": subprocess.run(commit, capture_output=True, text=True, check=True).stdout.strip(),
        "machine": machine(),
    }
    (GOLDEN / "made.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def write(case: Case, root: Path) -> None:
    """Write the folder of a case; ``root`` is a folder to work in, which is made."""
    target = GOLDEN / case.name
    shutil.rmtree(target, ignore_errors=True)
    if case.data:
        for name in ("data", "other"):
            shutil.copytree(GOLDEN / case.data / name, root / name)
    else:
        write_data(case, root)
    train(case, root, "finished", case.finished)
    stop(case, root)
    for name in ("finished", "stopped"):
        keep_run(root, name, target / name, case)
    for name in ("data", "other", "inputs"):
        if (root / name).is_dir() and not (case.data and name != "inputs"):
            shutil.copytree(root / name, target / name)
    (target / "expected").mkdir(exist_ok=True)
    if (root / "array.npy").is_file():
        shutil.copyfile(root / "array.npy", target / "expected" / "array.npy")
    for name in EXPECTED:
        expect(case, name)


def expect(case: Case, name: str) -> None:
    """Write what one of ``EXPECTED`` gives for a case, laid out from its files as the tests do."""
    target = GOLDEN / case.name / "expected" / name
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        root = lay_out(case, Path(folder).resolve() / "case")
        found = EXPECTED[name](case, root)
        for file in numbers(found):
            kept = target / file.relative_to(found)
            kept.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix in TEXT:
                kept.write_text(file.read_text(encoding="utf-8").replace(str(root), ROOT), encoding="utf-8")
            else:
                shutil.copyfile(file, kept)


def write_data(case: Case, root: Path) -> None:
    """Write ``data`` and ``other``, for volumes also what is predicted."""
    for seed, (name, size) in enumerate(zip(("data", "other"), SIZES[case.task], strict=True), start=1):
        visionlab.samples.write(case.task, root / name, seed=seed, **size)
        for file in [*(root / name).rglob("SOURCE.md"), *(root / name).glob("*_GT/TRA"), root / name / "series"]:
            shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
    if case.task == "celegans_lineage":
        # Of 16 bits, of which the lower ones say something.
        for number, file in enumerate(sorted(root.glob("*/images/*/*.png"))):
            to_16_bits(file, number)
    if case.task == "celegans_nuclei":
        frames = np.stack([tifffile.imread(file) for file in sorted((root / "other" / "01").glob("*.tif"))])
        inputs = root / "inputs"
        inputs.mkdir()
        scale: dict[str, Any] = {"resolution": (4.0, 4.0), "metadata": {"axes": "ZYX", "spacing": 1.0, "unit": "um"}}
        tifffile.imwrite(inputs / "imagej.tif", frames[0], imagej=True, compression="zlib", **scale)
        sizes = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 1.0, "TimeIncrement": 60.0}
        told = {"axes": "TZYX", **sizes}
        tifffile.imwrite(inputs / "series.ome.tif", frames[:, 3:9], ome=True, compression="zlib", metadata=told)
        tifffile.imwrite(inputs / "slice.tif", frames[0, 6], compression="zlib")
        np.save(root / "array.npy", frames[1, 2:8, 2:, 3:])
    if case.task == "celegans_membrane":
        import scipy.io

        volume = scipy.io.loadmat(next((root / "other").glob("*.mat")))["embryo"]
        np.save(root / "array.npy", np.ascontiguousarray(np.moveaxis(volume, -1, 0)[1:6, 2:, 3:]))


def to_16_bits(file: Path, number: int) -> None:
    """Rewrite an 8-bit PNG with 16 bits, the lower ones of noise."""
    import imagecodecs

    image = imagecodecs.imread(file).astype(np.uint16)
    noise = np.random.default_rng(number).integers(0, 8, image.shape)
    file.write_bytes(imagecodecs.png_encode((image * 200 + noise).astype(np.uint16)))


def stop(case: Case, root: Path) -> None:
    """Train into ``root``/stopped and stop by SIGTERM after the case's step."""
    steps = 0
    sent = False

    def send() -> None:
        nonlocal sent
        if not sent:
            sent = True
            os.kill(os.getpid(), signal.SIGTERM)

    def stepped(*_: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == case.step and not case.validating:
            send()

    def seen(module: torch.nn.Module, _: Any) -> None:
        if case.validating and steps >= case.step and not module.training:
            send()

    hooks = [register_optimizer_step_post_hook(stepped), register_module_forward_pre_hook(seen)]
    places = (f"data.root={root / 'data'}", f"hydra.run.dir={root / 'stopped'}")
    try:
        ended = run_command("train", f"task={case.task}", *COMMON, *places, *case.stopped, cwd=root)
    finally:
        for hook in hooks:
            hook.remove()
    assert ended.status == 128 + signal.SIGTERM, ended.err
    print(ended.err.splitlines()[-1])


def keep_run(root: Path, name: str, target: Path, case: Case) -> None:
    """Copy what of a run folder is needed, its checkpoints small and packed, no path of this machine in its texts."""
    for file in [*(root / name / kept for kept in KEPT), *(root / name).glob("predictions/*.csv")]:
        if file.is_file():
            kept = target / file.relative_to(root / name)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(file.read_text(encoding="utf-8").replace(str(root), ROOT), encoding="utf-8")
    (target / "checkpoints").mkdir()
    for file in (root / name / "checkpoints").glob("*.ckpt"):
        if name == "finished" and file.stem == "last":
            continue
        content = torch.load(file, weights_only=True)
        content = relocated(content, str(root))
        if name == "stopped":
            content = rounded(content, 0.05)
        elif case.kept is not None:
            content = rounded(content, case.kept, largest=True)
        torch.save(content, root / "small.ckpt")
        packed = lzma.compress((root / "small.ckpt").read_bytes(), preset=9 | lzma.PRESET_EXTREME)
        (target / "checkpoints" / f"{file.name}.xz").write_bytes(packed)


def relocated(content: Any, root: str) -> Any:
    """Return the content of a checkpoint without paths of this machine."""
    if isinstance(content, str):
        return content.replace(root, ROOT)
    if isinstance(content, dict):
        return type(content)((relocated(key, root), relocated(value, root)) for key, value in content.items())
    if isinstance(content, list | tuple):
        return type(content)(relocated(value, root) for value in content)
    return content


def rounded(content: Any, share: float, *, largest: bool = False) -> Any:
    """Return the content of a checkpoint with large tensors that take little space when packed.

    Args:
        content: of a checkpoint.
        share: of the numbers that are kept, to two bits of the mantissa; the others become 0.
        largest: keep the largest, so that a network does what it did; else the same ones in all tensors of a size, so
            that weights and the state of the optimizer stay together.
    """
    if isinstance(content, torch.Tensor):
        if content.dtype != torch.float32 or content.numel() < 1024:
            return content
        values: Array = content.contiguous().numpy().reshape(-1).copy()
        unit = 1 << 21
        # Rounded to the nearest: a carry into the exponent is right, too.
        values.view(np.uint32)[:] = (values.view(np.uint32) + unit // 2) & np.uint32(2**32 - unit)
        rank = -np.abs(values) if largest else np.random.default_rng(values.size).random(values.size)
        values[rank > np.quantile(rank, share)] = 0
        return torch.from_numpy(values.reshape(content.shape))
    if isinstance(content, dict):
        return type(content)((key, rounded(value, share, largest=largest)) for key, value in content.items())
    if isinstance(content, list | tuple):
        return type(content)(rounded(value, share, largest=largest) for value in content)
    return content


if __name__ == "__main__":
    main()
