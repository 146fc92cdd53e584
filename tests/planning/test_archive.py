"""The training hours in an archive's manifest; tests/workflow tests the archive of a real study."""

from __future__ import annotations

import pytest

from twostage.planning.archive import busy_hours


@pytest.mark.parametrize(
    ("times", "hours"),
    [
        ([], 0),
        ([(0, 3600)], 1),
        ([(7200, 9000), (0, 3600)], 1.5),  # a gap does not count
        ([(0, 3600), (1800, 5400)], 1.5),  # overlapping jobs do not count twice
        ([(0, 7200), (600, 1200), (1000, 3600)], 2),  # one within another
        ([(0, 3600), (3600, 7200)], 2),
    ],
)
def test_hours_in_which_something_ran(times, hours):
    assert busy_hours(times) == pytest.approx(hours)
