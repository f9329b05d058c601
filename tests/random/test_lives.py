"""Whole lives of task instances, with everything that can happen to them, each drawn from a seed.

Play one again: ``pytest "tests/random/test_lives.py::test_life[17]"``.
"""

from pathlib import Path

import pytest

from tests.random.plan import TROUBLES, Plan
from tests.random.world import World

LIVES = 240


def play(seed: int, folder: Path, without: frozenset[str] = frozenset()) -> World:
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        world = World(Plan(seed, without), folder, patch)
        world.run()
    return world


def simplest(seed: int, folder: Path) -> World:
    """Return a life that still breaks a rule when all trouble that it does not need is left out."""
    without: frozenset[str] = frozenset()
    world = play(seed, folder / "all", without)
    for number, trouble in enumerate(TROUBLES):
        simpler = play(seed, folder / str(number), without | {trouble})
        if simpler.violations:
            world, without = simpler, without | {trouble}
    return world


@pytest.mark.parametrize("seed", range(LIVES))
def test_life(seed: int, tmp_path: Path) -> None:
    world = play(seed, tmp_path / "life")
    if not world.violations:
        return
    world = simplest(seed, tmp_path)
    needed = ", ".join(trouble for trouble in TROUBLES if trouble not in world.plan.without)
    story = "\n".join([str(world.plan), "", f"with: {needed}", "", *world.journal, "", *world.violations])
    pytest.fail(f"Seed {seed} breaks a rule.\n{story}", pytrace=False)
