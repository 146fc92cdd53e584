"""`twostage doctor`: is the machine it runs on ready for a study, and what to do where it is not?

One module per group of checks, each split in two: `gather` looks (processes, files, network) and returns plain facts,
`judge` turns facts into `Check`s without looking again. So the verdicts on a GPU node are tested without one.
"""

from twostage.doctor.check import Check, Status, failed
from twostage.doctor.examine import Examination, examine

__all__ = ["Check", "Examination", "Status", "examine", "failed"]
