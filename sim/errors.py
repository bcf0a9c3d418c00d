"""What can be wrong with an experiment. Every message names the place and the mend."""


class SimError(Exception):
    """Anything that sim itself raises. `where` names the place; `problem` says what is wrong and how to mend it.

    Mend: `problem` says what to do; `where` names the place.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where = where
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


class InvalidScenario(SimError):
    """The scenario cannot be run as it is declared. `problems` has each thing that is wrong, and where it is.

    Mend: change the file where each problem says; docs/scenario.md has the fields.
    """

    def __init__(self, where: str, *problems: str) -> None:
        super().__init__(where, "; ".join(problems))
        self.args = (where, *problems)
        self.problems = problems


class InvalidTrace(SimError):
    """A recorded trace is missing, or has a row that cannot be read.

    Mend: name the right file and columns: `workbench trace inspect FILE` shows what is in one.
    """


class InvalidHistory(SimError):
    """A history that cannot be read or written, or two that cannot be compared.

    Mend: give the file that `--history` wrote, of the same scenario; make it again if it was cut off.
    """


class InvalidPrediction(SimError):
    """A prediction that cannot be read or written, was changed after it was made, or is of something else.

    Mend: predict again: `workbench predict SCENARIO --out FILE`.
    """


class InvalidCalibration(SimError):
    """A calibration that cannot be read or written, or that was measured on another machine, server or library.

    Mend: calibrate here: `workbench calibrate --out FILE`.
    """


class OtherFormat(InvalidCalibration):
    """A calibration that another version of the workbench has written.

    Mend: calibrate here: `workbench calibrate --out FILE`.
    """


class CalibrationFailed(SimError):
    """The machine could not be measured: a step was never seen, or the machine is too busy.

    Mend: end what else runs on the machine, and calibrate again.
    """


class LiveRunFailed(SimError):
    """A live run could not be finished: one of its processes failed.

    Mend: mend what its last words in `problem` say.
    """


class SweepFailed(SimError):
    """A sweep could not be finished, or what it wrote cannot be read: a process, a cluster or a file failed.

    Mend: mend what `problem` names; the same command goes on from what is finished.
    """


def first_of(error: BaseException) -> BaseException:
    """The first error of a group: what failed before the rest was cancelled."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
