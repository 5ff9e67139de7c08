"""Seeded choice of samples. Pure: positions in, positions out, always in ascending order."""

from __future__ import annotations

import random
from collections.abc import Collection, Hashable, Sequence
from typing import Literal

Select = Literal["first", "random", "stratified"]


def choose(labels: Sequence[int | float | None], count: int, select: Select, seed: int) -> list[int]:
    """At most ``count`` ascending positions of ``labels``; all of them where there are no more.

    Raises ValueError for a stratified choice where a label is not an int.
    """
    total = len(labels)
    if count >= total:
        return list(range(total))
    if select == "first":
        return list(range(count))
    if select == "random":
        return sorted(random.Random(seed).sample(range(total), count))
    return _stratified(labels, count, random.Random(seed))


def disjoint(candidates: Sequence[Hashable], used: Collection[Hashable]) -> list[int]:
    """Positions of the candidates that are not among ``used``."""
    taken = frozenset(used)
    return [position for position, key in enumerate(candidates) if key not in taken]


def quotas(sizes: Sequence[int], count: int) -> list[int]:
    """How many of each class to take, proportional to ``sizes`` (largest remainder), at least one of each.

    Needs ``len(sizes) <= count <= sum(sizes)`` and no empty class. Ties go to the earlier class.
    """
    total = sum(sizes)
    shares = [max(1, size * count // total) for size in sizes]

    def owed(i: int) -> tuple[int, int]:
        return sizes[i] * count - shares[i] * total, -i

    while sum(shares) > count:  # the guaranteed ones overshot: give back where most is too much
        shares[min((i for i, share in enumerate(shares) if share > 1), key=owed)] -= 1
    while sum(shares) < count:
        shares[max((i for i, size in enumerate(sizes) if shares[i] < size), key=owed)] += 1
    return shares


def _stratified(labels: Sequence[int | float | None], count: int, rng: random.Random) -> list[int]:
    members: dict[int, list[int]] = {}
    for position, label in enumerate(labels):
        if not isinstance(label, int):
            raise ValueError("a stratified choice needs a class for every sample")
        members.setdefault(label, []).append(position)
    classes = sorted(members)
    if count < len(classes):
        classes = sorted(rng.sample(classes, count))
    shares = quotas([len(members[cls]) for cls in classes], count)
    return sorted(pos for cls, share in zip(classes, shares, strict=True) for pos in rng.sample(members[cls], share))
