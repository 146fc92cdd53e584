"""Recorded numbers of a fixed tiny model: code that changes them must raise its stage's revision."""

from __future__ import annotations

import json

import numpy as np
import pytest
from golden.record import FOLDER, GOLDEN, STAGES

from twostage.common import provenance

#: Absolute; on the kind of machine that recorded, the numbers are equal to the last bit. Elsewhere other vector widths sum in
#: another order (ATEN_CPU_CAPABILITY=default and avx2 against AVX512: below 1e-6 here).
TOLERANCE = 1e-6
OTHER_MACHINE = 1e-5


def compare(stage, numbers, record):
    """Fail, saying what to do, where `numbers` are not those of the record."""
    constant, revision = STAGES[stage]
    command = f"python tests/golden/record.py {stage}"
    assert record["revision"] == revision, f"{constant} was raised: record again with `{command}`"
    same_machine = record["device"] == provenance.device_kind("cpu")
    tolerance = TOLERANCE if same_machine else OTHER_MACHINE
    worst = {
        key: float(np.max(np.abs(np.subtract(numbers[key], values))))
        for key, values in record["numbers"].items()
    }
    changed = {key: value for key, value in worst.items() if not value <= tolerance}
    assert not changed, (
        f"numerics changed: raise {constant} in src/twostage/common/revisions.py (all jobs of that stage are then run again) and "
        f"record again with `{command}`; or correct the code. Largest differences: {changed}"
    )


def recorded(stage):
    return json.loads((FOLDER / f"{stage}.json").read_text())


@pytest.mark.parametrize("stage", GOLDEN)
def test_numbers_are_those_recorded_for_this_revision(stage, tmp_path):
    numbers = GOLDEN[stage](tmp_path)
    record = recorded(stage)
    assert numbers.keys() == record["numbers"].keys()
    compare(stage, numbers, record)


@pytest.mark.parametrize("stage", GOLDEN)
def test_a_change_is_noticed_and_the_message_says_what_to_do(stage):
    record = recorded(stage)
    numbers = json.loads(json.dumps(record["numbers"]))
    compare(stage, numbers, record)
    key = next(iter(numbers))
    numbers[key][-1] += 3e-4 * max(1, abs(numbers[key][-1]))
    with pytest.raises(
        AssertionError, match=rf"numerics changed: raise {STAGES[stage][0]} .*record again with .*{stage}"
    ):
        compare(stage, numbers, record)
    numbers[key][-1] = float("nan")
    with pytest.raises(AssertionError, match="numerics changed"):
        compare(stage, numbers, record)


def test_a_raised_revision_asks_for_a_new_record():
    record = recorded("train") | {"revision": 0}
    with pytest.raises(AssertionError, match="TRAIN_REVISION was raised: record again with"):
        compare("train", record["numbers"], record)


def test_the_recorded_run_learns():
    found = recorded("train")["numbers"]["loss"]
    assert len(found) == 22
    assert found[-1] < found[0] - 0.2
