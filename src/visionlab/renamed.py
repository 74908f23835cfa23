"""Names that files written by version 0.1.0 hold, and what they are called now.

Run folders, experiments and checkpoints of that version go on working: what reads them translates by this table.
"""

from __future__ import annotations

from typing import Any

# Dotted names under ``_target_``.
RENAMED = {
    "visionlab.data.celegans.CElegansDataModule": "visionlab.datasets.celegans.CElegansDataModule",
    "visionlab.data.celegans.CElegansMembraneDataModule": "visionlab.datasets.celegans.CElegansMembraneDataModule",
    "visionlab.data.compositor.Compositor": "visionlab.datasets.compositor.Compositor",
    "visionlab.data.depth_mask.DepthMaskDataModule": "visionlab.datasets.depth_mask.DepthMaskDataModule",
    "visionlab.data.focus.FocusDataModule": "visionlab.datasets.focus.FocusDataModule",
    "visionlab.data.lineage.CElegansLineageDataModule": "visionlab.datasets.lineage.CElegansLineageDataModule",
    "visionlab.data.protein_atlas.ProteinAtlasDataModule": "visionlab.datasets.protein_atlas.ProteinAtlasDataModule",
}


def with_new_names(content: Any) -> Any:
    """Return plain, nested content with every ``_target_`` of version 0.1.0 under its name of today."""
    if isinstance(content, dict):
        return {
            key: RENAMED.get(value, value) if key == "_target_" and isinstance(value, str) else with_new_names(value)
            for key, value in content.items()
        }
    return [with_new_names(item) for item in content] if isinstance(content, list) else content
