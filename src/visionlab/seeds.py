"""Seeds that depend on what is being drawn and on nothing else: not on workers, ranks, resumption or order."""

from __future__ import annotations

import hashlib


def derive(*parts: int | str) -> int:
    """Return a seed in 0..2^32-1 from ``parts``, e.g. ``derive(seed, "augment", epoch, index)``.

    Hashing (BLAKE2b) rather than adding keeps neighbouring seeds, epochs and indices unrelated.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")
