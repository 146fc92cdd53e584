"""One revision integer per stage of the study: the only way in which code enters a job's identity.

Raise a number when a change of the library changes the *numbers* of that stage; every job of it, and all below, is
then run again. `tests/test_golden.py` fails when the numbers change and the revision did not.
"""

DATA_REVISION = 1
TRAIN_REVISION = 1
GROW_REVISION = 1
EVALUATE_REVISION = 1
EXPORT_REVISION = 1
DOWNSTREAM_REVISION = 1
