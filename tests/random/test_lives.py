"""Whole lives of task instances, with everything that can happen to them, each drawn from a seed.

Play one again: ``pytest "tests/random/test_lives.py::test_life[17]"``.
"""

from pathlib import Path

import pytest

from tests.random.airflow import seen_acts
from tests.random.plan import TROUBLES, Plan
from tests.random.worker import deaths
from tests.random.world import World, seen

LIVES = 240


def play(seed: int, folder: Path, without: frozenset[str] = frozenset()) -> World:
    folder.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        world = World(Plan(seed, without), folder, patch)
        world.run()
    return world


def simplest(seed: int, folder: Path) -> World:
    """Return a life that still breaks a rule when all trouble that it does not need is left out."""
    without: frozenset[str] = frozenset()
    world = play(seed, folder / "all", without)
    for trouble in TROUBLES:
        simpler = play(seed, folder / trouble, without | {trouble})
        if simpler.violations:
            world, without = simpler, without | {trouble}
    return world


@pytest.mark.parametrize("seed", range(LIVES))
def test_life(seed: int, tmp_path: Path) -> None:
    world = play(seed, tmp_path / "life")
    if not world.violations:
        return
    world = simplest(seed, tmp_path / "simpler")
    needed = ", ".join(trouble for trouble in TROUBLES if trouble not in world.plan.without)
    story = "\n".join([str(world.plan), "", f"with: {needed}", "", *world.journal, "", *world.violations])
    pytest.fail(f"Seed {seed} breaks a rule.\n{story}", pytrace=False)


def test_lives_are_eventful(tmp_path: Path) -> None:
    """Crashes at every step, every status and every kind of end are among them, or the rules would hold for nothing."""
    steps = {
        "before the task state is set",
        "after the task state was set",
        "before the store is used",
        "before POST",
        "after POST",
        "before an XCom is pushed",
        "before GET",
        "wait",
        "before the result is pushed",
    }
    statuses = {"SUCCEEDED", "FAILED", "EXPIRED", "CANCELED", "WEBHOOK_FAILED"}
    acts = {
        f"{act} while {state}"
        for act in ("clear", "failed", "success", "make again", "delete")
        for state in ("running", "deferred", "success")
    } - {"success while success"}
    acts.add("event of a former trigger")
    ends = {
        "success",
        "Killed",
        "AirflowTaskTimeout",
        "BasetenAsyncRequestError",
        "BasetenOrphanedRequestError",
        "BasetenResultLostError",
        "BasetenTimeoutError",
        "BasetenResultStoreError",
        "sent again",
        "attached",
    }
    for seed in range(3 * LIVES):
        missing = (steps - deaths.keys()) | ((statuses | ends) - seen.keys()) | (acts - seen_acts.keys())
        if not missing:
            return
        play(seed, tmp_path / str(seed))
    pytest.fail(f"Never happened: {missing}")
