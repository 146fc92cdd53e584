"""One revision integer per stage: the only part of a job's identity that depends on the code.

Increase a revision when a change of the library changes the *numerical results* of that stage. Every job of the stage and
every job that depends on it then runs again. `tests/test_golden.py` fails if results change without a new revision.
"""

DATA_REVISION = 1
TRAIN_REVISION = 1
GROW_REVISION = 1
EVALUATE_REVISION = 1
EXPORT_REVISION = 1
DOWNSTREAM_REVISION = 1
