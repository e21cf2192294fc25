"""Which part a task of a batch system is, by the variables that the system sets."""

import pytest

from shards.convert.parts import Part
from shards.convert.schedulers import part_of_task
from shards.errors import UsageError


def slurm(task: int, first: int, last: int, step: int = 1, count: int = 0) -> dict[str, str]:
    values = {"ID": task, "MIN": first, "MAX": last, "STEP": step}
    values["COUNT"] = count or (last - first) // step + 1
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def srun(task: int, count: int) -> dict[str, str]:
    return {
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": str(task),
        "SLURM_NTASKS": str(count),
    }


def grid_engine(task: object, first: object, last: object, step: object) -> dict[str, str]:
    names = ("ID", "FIRST", "LAST", "STEPSIZE")
    values = (task, first, last, step)
    return {f"SGE_TASK_{name}": str(value) for name, value in zip(names, values, strict=True)}


@pytest.mark.parametrize(
    ("environment", "part", "variables"),
    [
        (slurm(3, 0, 15), Part(3, 16), "SLURM_ARRAY_TASK_ID"),
        (slurm(1, 1, 16), Part(0, 16), "SLURM_ARRAY_TASK_ID"),
        (slurm(30, 10, 50, 20), Part(1, 3), "SLURM_ARRAY_TASK_ID"),
        ({"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "4"}, Part(2, 4), None),
        (srun(5, 8), Part(5, 8), "SLURM_PROCID"),
        (srun(5, 64) | {"SLURM_STEP_NUM_TASKS": "8"}, Part(5, 8), "SLURM_PROCID"),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, Part(0, 4), "SLURM_PROCID"),
        (slurm(2, 1, 3) | srun(1, 4), Part(5, 12), "SLURM_ARRAY_TASK_ID and SLURM_PROCID"),
        (grid_engine(4, 1, 9, 1), Part(3, 9), "SGE_TASK_ID"),
        ({"LSB_JOBINDEX": "2", "LSB_JOBINDEX_END": "5"}, Part(1, 5), "LSB_JOBINDEX"),
    ],
)
def test_a_task_has_its_part(environment, part: Part, variables: str | None) -> None:
    found = part_of_task(environment)
    assert found is not None
    assert found[0] == part
    assert variables in (None, found[1])


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"HOME": "/root", "SLURM_JOB_ID": "7"},
        slurm(7, 7, 7),
        srun(0, 1),
        # A batch script of a job of 8 tasks, which srun would start.
        {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"},
        grid_engine("undefined", "undefined", "undefined", "undefined"),
        {"LSB_JOBINDEX": "0", "LSB_JOBINDEX_END": "0"},
    ],
)
def test_a_task_alone_converts_everything(environment: dict[str, str]) -> None:
    assert part_of_task(environment) is None


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (slurm(7, 3, 9, count=4), r"do not follow one another"),  # --array=3,7-9
        (slurm(4, 3, 9, step=2), r"do not follow one another"),
        ({"SLURM_ARRAY_TASK_ID": "3"}, "do not follow one another"),
        (slurm(9, 0, 3), r"9 \(SLURM_ARRAY_TASK_ID\): 4 parts are counted from 0 to 3"),
        (srun(8, 8), "8 parts are counted"),
        ({"PBS_ARRAY_INDEX": "3"}, "PBS_ARRAY_INDEX is set, but nothing says how many"),
    ],
)
def test_a_task_that_cannot_know_its_part_is_told_to_say_it(environment, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        part_of_task(environment)
