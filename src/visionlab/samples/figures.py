"""Things that stand in a room: people, animals, birds, balls and robots, made of shapes.

Every one stands on y = 0 about the origin and faces -z. Lengths in metres.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from visionlab.samples.shapes import Array, Paint, Shape, box, cone, ellipsoid, limb, plain, turn
from visionlab.samples.textures import Noise, colour
from visionlab.samples.tracing import Group


def _any(rng: np.random.Generator, value: tuple[float, float] = (0.5, 0.95)) -> Array:
    # Strong colours, unlike the rooms' muted ones: outlines can then be learnt from a few hundred images.
    return colour(rng.random(), rng.uniform(0.75, 1.0), rng.uniform(*value))


def _fabric(rng: np.random.Generator, *, patterned: bool) -> Paint:
    """Cloth of one colour, or with stripes or checks in the shape's own coordinates."""
    base, other, noise = _any(rng), _any(rng), Noise(rng)
    across, down = rng.choice(((0, 1), (1, 0), (1, 1), (0, 0)), p=(0.25, 0.15, 0.1, 0.5)) * (
        rng.uniform(4, 9) if patterned else 0
    )

    def paint(own: Array) -> Array:
        bands = np.mod(np.floor(own[:, 0] * across) + np.floor(own[:, 1] * 2 * down), 2)
        worn = 1 + 0.25 * (noise.at(own[:, 0] * 6, own[:, 1] * 12 + own[:, 2] * 5) - 0.5)
        return (base + bands[:, None] * (other - base)) * worn[:, None]

    return paint


def person(rng: np.random.Generator) -> Group:
    """A person, 1.1 to 1.9 m tall, standing or walking."""
    h = rng.uniform(1.1, 1.9)
    skin = plain(colour(rng.uniform(0.04, 0.08), rng.uniform(0.6, 0.85), rng.uniform(0.35, 0.95)))
    hair = plain(colour(rng.uniform(0.04, 0.12), rng.uniform(0.7, 0.95), rng.uniform(0.2, 0.7)))
    shirt, trousers, shoes = (
        _fabric(rng, patterned=True),
        _fabric(rng, patterned=False),
        plain(_any(rng, (0.3, 0.5))),
    )
    sleeve = shirt if rng.random() < 0.6 else skin
    stride, spread = rng.uniform(-0.1, 0.1), rng.uniform(0.045, 0.075)
    wide = rng.uniform(0.9, 1.2)
    skirt = rng.random() < 0.3
    parts: list[Shape] = []
    for side in (-1, 1):
        hip, step = np.array([side * 0.05, 0.48, 0]), side * stride
        knee, foot = np.array([side * spread, 0.27, step / 2 - 0.01]), np.array([side * spread, 0.035, step])
        parts += limb(hip, knee, 0.05 * wide, 0.036 * wide, trousers) + limb(
            knee, foot, 0.035 * wide, 0.024, skin if skirt else trousers
        )
        parts.append(ellipsoid(np.add(foot, (0, -0.012, -0.028)), (0.028, 0.023, 0.062), shoes))
        shoulder = np.array([side * 0.105 * wide, 0.795, 0])
        lift, ahead = rng.uniform(0.05, 0.5) ** 2, rng.uniform(-0.35, 0.6)
        if rng.random() < 0.15:
            lift, ahead = rng.uniform(1.5, 2.6), 0.2
        elbow = shoulder + 0.16 * np.array([side * np.sin(lift), -np.cos(lift), -0.3 * ahead])
        bend = lift + rng.uniform(-0.1, 0.2)
        hand = elbow + 0.15 * np.array([side * np.sin(bend), -np.cos(bend), -0.8 * ahead])
        parts += limb(shoulder, elbow, 0.032 * wide, 0.025, shirt) + limb(elbow, hand, 0.025, 0.019, sleeve)
        parts.append(ellipsoid(hand, 0.026, skin))
    parts += [
        cone((0, 0.47, 0), (0, 0.8, 0), 0.085 * wide, 0.12 * wide, shirt, flat=0.6),
        ellipsoid((0, 0.8, 0), (0.118 * wide, 0.04, 0.068 * wide), shirt),
        ellipsoid((0, 0.49, 0), (0.088 * wide, 0.06, 0.058 * wide), trousers),
        cone((0, 0.8, 0), (0, 0.88, 0), 0.036, 0.032, skin),
        ellipsoid((0, 0.925, -0.005), (0.048, 0.067, 0.056), skin),
        ellipsoid((0, 0.942, 0.012), (0.054, 0.062, 0.056), hair),
    ]
    if skirt:
        parts.append(cone((0, rng.uniform(0.25, 0.36), 0), (0, 0.54, 0), 0.135, 0.08 * wide, trousers, flat=0.8))
    if rng.random() < 0.35:
        parts.append(ellipsoid((0, 0.84, 0.045), (0.056, 0.11, 0.025), hair))
    return _scaled(parts, h)


def animal(rng: np.random.Generator) -> Group:
    """A four-legged animal, 0.7 to 1.4 m long, spotted or plain."""
    base = colour(rng.uniform(0.03, 0.13), rng.uniform(0.75, 0.95), rng.uniform(0.4, 0.95))
    spot, noise = base * rng.choice((0.4, 0.6, 2.5)), Noise(rng)
    spots = rng.uniform(0.45, 1.0)

    def fur(own: Array) -> Array:
        dark = noise.at(own[:, 0] * 2.2 + 5, own[:, 1] * 2.2 + own[:, 2] * 1.7) > spots
        rough = 0.85 + 0.3 * noise.at(own[:, 0] * 19, own[:, 1] * 19 + own[:, 2] * 13)
        return np.where(dark[:, None], np.minimum(spot, 0.9), base) * rough[:, None]

    leg, stout, neck = rng.uniform(0.28, 0.5), rng.uniform(0.11, 0.17), rng.uniform(0.12, 0.35)
    top = leg + stout
    parts: list[Shape] = [ellipsoid((0, top, 0.02), (stout, 1.05 * stout, 0.46), fur)]
    for side in (-1, 1):
        for end in (-0.3, 0.32):
            step = rng.uniform(-0.08, 0.08)
            parts += limb(
                (side * 0.6 * stout, leg + 0.06, end), (side * 0.65 * stout, 0.03, end + step), 0.065, 0.03, fur
            )
            parts.append(ellipsoid((side * 0.65 * stout, 0.025, end + step - 0.025), (0.036, 0.026, 0.055), fur))
    head = np.array([0, top + neck, -0.42 - 0.25 * neck])
    parts += limb((0, top + 0.02, -0.34), head, 0.9 * stout, 0.07, fur)
    parts += [
        ellipsoid(head, (0.095, 0.09, 0.11), fur),
        *limb(np.add(head, (0, -0.02, -0.08)), np.add(head, (0, -0.035, -0.17)), 0.055, 0.04, fur),
    ]
    parts.append(ellipsoid(np.add(head, (0, -0.03, -0.205)), 0.018, plain((0.01, 0.01, 0.01))))
    ear = rng.uniform(0.04, 0.1)
    for side in (-1, 1):
        parts.append(ellipsoid(np.add(head, (side * 0.07, 0.06 + 0.5 * ear, 0.02)), (0.028, ear, 0.04), fur))
        parts.append(ellipsoid(np.add(head, (side * 0.045, 0.03, -0.09)), 0.014, plain((0.01, 0.01, 0.01))))
    parts += limb(
        (0, top + 0.04, 0.44), (rng.uniform(-0.15, 0.15), top + rng.uniform(-0.1, 0.35), 0.66), 0.035, 0.018, fur
    )
    return _scaled(parts, rng.uniform(0.7, 1.4) / 1.1)


def bird(rng: np.random.Generator) -> Group:
    """A penguin-like bird, 0.7 to 1.3 m tall."""
    back, belly, bill = (
        _any(rng, (0.3, 0.7)),
        colour(0.13, rng.uniform(0.5, 0.8), 0.95),
        plain(colour(rng.uniform(0.05, 0.12), 0.85, 0.9)),
    )

    def coat(own: Array) -> Array:
        front = (own[:, 2] < -0.25) & (np.abs(own[:, 0]) < 0.72) & (own[:, 1] < 0.75)
        return np.where(front[:, None], belly, back)

    parts = [
        ellipsoid((0, 0.42, 0), (0.22, 0.4, 0.2), coat),
        ellipsoid((0, 0.83, -0.01), (0.125, 0.14, 0.125), plain(back)),
        cone((0, 0.83, -0.1), (0, 0.81, -0.24), 0.035, 0.008, bill),
    ]
    lift = rng.uniform(0.05, 0.9)
    for side in (-1, 1):
        parts.append(
            ellipsoid(
                (side * (0.2 + 0.12 * lift), 0.48, 0.01), (0.035, 0.24, 0.09), plain(back), turn(roll=side * lift)
            )
        )
        parts.append(ellipsoid((side * 0.09, 0.025, -0.07), (0.065, 0.027, 0.11), bill))
        parts.append(ellipsoid((side * 0.06, 0.87, -0.105), 0.022, plain((0.9, 0.9, 0.9))))
        parts.append(ellipsoid((side * 0.063, 0.87, -0.122), 0.011, plain((0.01, 0.01, 0.01))))
    return _scaled(parts, rng.uniform(0.7, 1.3))


def ball(rng: np.random.Generator) -> Group:
    """A ball of coloured sectors, 0.5 to 1 m across."""
    tones, sectors = np.stack([_any(rng) for _ in range(3)]), int(rng.integers(2, 5)) * 2

    def paint(own: Array) -> Array:
        part = np.floor((np.arctan2(own[:, 0], own[:, 2]) / (2 * np.pi) + 0.5) * sectors).astype(int)
        return tones[np.where(np.abs(own[:, 1]) > 0.93, 2, part % 2)]

    radius = rng.uniform(0.25, 0.5)
    tilt = turn(rng.uniform(0, 6), rng.uniform(-1.2, 1.2))
    return Group([ellipsoid((0, radius, 0), radius, paint, tilt)])


def robot(rng: np.random.Generator) -> Group:
    """A boxy robot, 0.8 to 1.7 m tall."""
    metal, dark, lamp = (
        plain(_any(rng)),
        plain(_any(rng, (0.3, 0.5))),
        colour(rng.random(), 0.7, 1.0),
    )
    wide = rng.uniform(0.14, 0.2)

    def face(own: Array) -> Array:
        front = own[:, 2] < -0.085
        eye = front & (np.abs(np.abs(own[:, 0]) - 0.05) < 0.025) & (np.abs(own[:, 1] - 0.02) < 0.025)
        mouth = front & (np.abs(own[:, 0]) < 0.06) & (np.abs(own[:, 1] + 0.06) < 0.012)
        return np.where(eye[:, None], lamp, np.where(mouth[:, None], 0.02, metal(own)))

    parts: list[Shape] = [
        box((0, 0.52, 0), (2 * wide, 0.36, 0.22), metal),
        box((0, 0.54, -0.1), (1.2 * wide, 0.18, 0.06), dark),
        cone((0, 0.7, 0), (0, 0.76, 0), 0.04, 0.04, dark),
        box((0, 0.84, 0), (0.22, 0.18, 0.18), face),
        cone((0, 0.92, 0), (0, 0.985, 0), 0.008, 0.008, dark),
        ellipsoid((0, 0.985, 0), 0.02, plain(lamp)),
    ]
    for side in (-1, 1):
        parts.append(cone((side * 0.6 * wide, 0.05, 0), (side * 0.6 * wide, 0.36, 0), 0.05, 0.04, dark))
        parts.append(box((side * 0.6 * wide, 0.035, -0.03), (0.12, 0.07, 0.22), metal))
        shoulder, bend = np.array([side * (wide + 0.03), 0.65, 0]), rng.uniform(-0.3, 1.2)
        elbow = np.add(shoulder, (side * 0.03, -0.16, 0))
        parts += limb(shoulder, elbow, 0.04, 0.035, dark)
        parts += limb(elbow, elbow + 0.17 * np.array([0, -np.cos(bend), -np.sin(bend)]), 0.035, 0.03, metal)
    return _scaled(parts, rng.uniform(0.8, 1.7))


def _scaled(parts: list[Shape], size: float) -> Group:
    """Return shapes made for a height of about 1, ``size`` times as large."""
    return Group([part.scaled(size) for part in parts])


KINDS: Mapping[str, Callable[[np.random.Generator], Group]] = {
    "person": person,
    "animal": animal,
    "bird": bird,
    "ball": ball,
    "robot": robot,
}
"""Name -> how to draw one."""
