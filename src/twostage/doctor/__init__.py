"""`twostage doctor`: check whether this machine is ready for a study, and suggest fixes.

One module per group of checks. In each, `gather` reads the state of the machine (processes, files, network) and returns
facts, and `judge` turns the facts into `Check`s. So the checks of a GPU node can be tested without one.
"""

from twostage.doctor.check import Check, Verdict, failed
from twostage.doctor.examine import Examination, examine

__all__ = ["Check", "Examination", "Verdict", "examine", "failed"]
