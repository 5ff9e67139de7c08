"""Choosing samples: first, random or stratified; seeded, pure."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from typing import Literal

Select = Literal["first", "random", "stratified"]


def choose(strata: Sequence[Hashable], count: int, select: Select, seed: int) -> list[int]:
    """Positions of ``count`` of ``len(strata)`` samples (all where there are no more), in ascending order.

    ``strata[i]`` is sample ``i``'s class; only ``stratified`` looks at it: classes take turns, each in an order of its
    own drawn from ``seed``, so every class comes in evenly until it has no more samples.
    """
    total = len(strata)
    if count >= total:
        return list(range(total))
    if select == "first":
        return list(range(count))
    generator = random.Random(seed)
    if select == "random":
        return sorted(generator.sample(range(total), count))
    groups: dict[Hashable, list[int]] = {}
    for position, stratum in enumerate(strata):
        groups.setdefault(stratum, []).append(position)
    for group in groups.values():
        generator.shuffle(group)
    chosen: list[int] = []
    turns = list(groups.values())
    depth = 0
    while len(chosen) < count:
        turn = [group[depth] for group in turns if depth < len(group)]
        if len(turn) > count - len(chosen):
            turn = generator.sample(turn, count - len(chosen))
        chosen += turn
        depth += 1
    return sorted(chosen)
