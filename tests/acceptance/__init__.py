"""Black-box tests of what users have: through the commands and the public names of Python alone.

Whatever the inside looks like, these must pass. They import nothing of visionlab but ``visionlab`` itself and what is
public there (``load``, ``train``, ``models``, ``losses``, ``metrics``, ``samples``).

``make test`` runs those that aren't marked ``acceptance``; ``make acceptance`` runs all.

That they would notice was tried by breaking the code on purpose. Each of these makes at least one test fail:

- a crop that is shifted by a pixel: ``test_other_shapes_are_cropped_in_their_middle``;
- another interpolation: golden, ``predicted-focus``;
- labels decided at 0.5, not at the fitted thresholds: golden, ``predicted-protein_atlas``;
- stains in another order: golden, ``predicted-protein_atlas``;
- another seed in the steps of a resumed run: golden, ``resumed-focus``;
- masks upside down: golden, ``predicted-depth_mask``;
- statistics of the validation split in place of the training split: golden, ``continued-celegans_lineage``;
- label volumes without voxel size: golden, ``predicted-celegans_nuclei``;
- depth that is 1% too large: golden, ``predicted-depth_mask``;
- a group in two splits: ``test_library``.
"""
