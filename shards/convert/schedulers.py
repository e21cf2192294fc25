"""Which part of a conversion a task of a batch system is, by its environment."""

from collections.abc import Mapping
from dataclasses import dataclass

from shards.convert.parts import Part, make_part
from shards.errors import UsageError


@dataclass(frozen=True)
class _Array:
    """The variables in which a batch system tells a task its place in the array."""

    task: str
    last: str
    step: str
    first: str = ""  # "": arrays begin at 1
    count: str = ""


_ARRAYS = (
    _Array(
        task="SLURM_ARRAY_TASK_ID",
        first="SLURM_ARRAY_TASK_MIN",
        last="SLURM_ARRAY_TASK_MAX",
        step="SLURM_ARRAY_TASK_STEP",
        count="SLURM_ARRAY_TASK_COUNT",
    ),
    _Array(
        task="SGE_TASK_ID", first="SGE_TASK_FIRST", last="SGE_TASK_LAST", step="SGE_TASK_STEPSIZE"
    ),
    _Array(task="LSB_JOBINDEX", last="LSB_JOBINDEX_END", step="LSB_JOBINDEX_STEP"),
)
_UNCOUNTED = ("PBS_ARRAY_INDEX", "PBS_ARRAYID")  # PBS does not tell how many tasks there are


def part_of_task(environment: Mapping[str, str]) -> tuple[Part, str] | None:
    """Return the part that this task should convert, and the variables that say so.

    Slurm's, Grid Engine's and LSF's arrays are known, and the tasks that srun starts; with both,
    each task of the array is divided again. None: this is the only task.

    Raises:
        UsageError: the task is in an array whose number of tasks cannot be told.
    """
    found = [pair for pair in (_array_task(environment), _srun_task(environment)) if pair]
    number, count = 0, 1
    for part, _ in found:
        number, count = number * part.count + part.number, count * part.count
    if count == 1:
        return None
    return Part(number, count), " and ".join(variable for _, variable in found)


def _array_task(environment: Mapping[str, str]) -> tuple[Part, str] | None:
    for array in _ARRAYS:
        task = _number(environment, array.task)
        if task is not None and (array.first or task):  # LSF numbers a job without an array 0
            return _in_array(environment, array, task), array.task
    for variable in _UNCOUNTED:
        if variable in environment:
            raise UsageError(
                f"{variable} is set, but nothing says how many tasks the array has",
                hint=f"--part ${variable}/N, for tasks from 0 to N-1",
            )
    return None


def _in_array(environment: Mapping[str, str], array: _Array, task: int) -> Part:
    """Return the part of task `task`.

    An array with gaps, such as that of tasks run again, does not tell what it was divided by.
    """
    step = _number(environment, array.step) or 1
    first = _number(environment, array.first)
    if first is None:
        first = 0 if array.count else 1
    last = _number(environment, array.last)
    count = _number(environment, array.count)
    span = count if last is None else (last - first) // step + 1
    if span is None or (count or span) != span or (task - first) % step:
        raise UsageError(
            f"{array.task} is {task}, but the tasks of its array do not follow one another",
            hint=f"--part ${array.task}/N, for tasks from 0 to N-1",
        )
    return make_part((task - first) // step, span, f"{task} ({array.task})")


def _srun_task(environment: Mapping[str, str]) -> tuple[Part, str] | None:
    task = _number(environment, "SLURM_PROCID")
    count = _number(environment, "SLURM_STEP_NUM_TASKS") or _number(environment, "SLURM_NTASKS")
    # A batch script has these two variables, too, but is the only one of its job.
    batch_script = "SLURM_JOB_ID" in environment and "SLURM_STEP_ID" not in environment
    if task is None or count is None or batch_script:
        return None
    return make_part(task, count, f"{task} (SLURM_PROCID)"), "SLURM_PROCID"


def _number(environment: Mapping[str, str], name: str) -> int | None:
    value = environment.get(name, "")
    return int(value) if value.isdecimal() else None
