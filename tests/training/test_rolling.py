"""Rolling state: newest two of one key, nothing of another key, and a way around damage."""

from __future__ import annotations

import pytest

from twostage.common.storage import json_digest, payload_entries, write_manifest
from twostage.training.rolling import RollingState

ONE_RANK, TWO_RANKS = {"ranks": 1, "threads": 1}, {"ranks": 2, "threads": 1}


def write(folder):
    (folder / "data").write_text(f"state in {folder.name}")
    write_manifest(folder / "manifest.json", {"payload": payload_entries(folder, ["data"])})


def save(state, step, write):
    write(state.begin(step))
    state.complete(step)


def names(state):
    return sorted(path.name for path in state.folder.iterdir())


@pytest.fixture
def state(tmp_path):
    state = RollingState(tmp_path / "state", "mine", ONE_RANK)
    for step in (8, 9, 10):
        save(state, step, write)
    return state


def test_the_newest_two_are_kept_in_order_of_their_numbers(state):
    assert names(state) == ["step-10", "step-9"]
    assert state.newest() == state.folder / "step-10"


def test_nothing_saved_is_none(tmp_path):
    assert RollingState(tmp_path / "state", "mine", ONE_RANK).newest() is None


def test_a_damaged_state_is_reported_removed_and_the_one_before_used(state, caplog):
    (state.folder / "step-10/data").write_text("state in .step-10.tmq")
    assert state.newest() == state.folder / "step-9"
    assert "step-10: damaged rolling state, trying an earlier one" in caplog.text
    assert "SHA-256 differs" in caplog.text
    assert names(state) == ["step-9"]
    (state.folder / "step-9/manifest.json").unlink()
    assert state.newest() is None
    assert "manifest is missing" in caplog.text


def test_state_of_another_layout_is_taken_over_with_a_warning_and_a_record(state, caplog):
    wider = RollingState(state.root, "mine", TWO_RANKS)
    wider.discard_others()
    assert wider.newest() == state.folder / "step-10"
    assert (
        "step-10: saved with another layout, {'ranks': 1, 'threads': 1}; continuing with {'ranks': 2"
        in caplog.text
    )
    assert wider.layouts == [ONE_RANK, TWO_RANKS | {"from_step": 10}]
    caplog.clear()
    # Its own state from here on, with the story so far; the other layout's older ones go.
    save(wider, 11, write)
    save(wider, 12, write)
    again = RollingState(state.root, "mine", TWO_RANKS)
    assert again.newest() == wider.folder / "step-12"
    assert again.layouts == wider.layouts
    assert caplog.text == ""
    assert not list(state.folder.glob("step-*"))


def test_of_equally_new_states_this_layouts_own_is_taken(state, caplog):
    wider = RollingState(state.root, "mine", TWO_RANKS)
    save(wider, 10, write)
    assert state.newest() == state.folder / "step-10"
    assert RollingState(state.root, "mine", TWO_RANKS).newest() == wider.folder / "step-10"
    assert caplog.text == ""
    (wider.folder / "step-10/layouts.json").write_text("[")
    assert RollingState(state.root, "mine", TWO_RANKS).newest() == state.folder / "step-10"
    assert "damaged rolling state" in caplog.text


def test_a_save_that_fails_leaves_what_was_there(state):
    def fail(folder):
        write(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save(state, 11, fail)
    assert (state.folder / ".step-11.tmp").exists()
    assert state.newest() == state.folder / "step-10"
    save(state, 11, write)
    assert names(state) == ["step-10", "step-11"]


def test_a_step_can_be_saved_again(state):
    (state.folder / "step-10/data").write_text("old")
    save(state, 10, write)
    assert (state.folder / "step-10/data").read_text() == "state in .step-10.tmp"


def test_other_keys_are_discarded_with_a_warning(state, caplog):
    other = RollingState(state.root, "other", ONE_RANK)
    assert other.newest() is None
    other.discard_others()
    assert not state.folder.exists()
    assert f"{state.folder}: discarding rolling state of another configuration" in caplog.text
    caplog.clear()
    save(other, 1, write)
    other.discard_others()
    assert names(other) == ["step-1"]
    assert caplog.text == ""


def test_clear_removes_everything(state):
    state.clear()
    assert not state.root.exists()
    state.clear()


def test_the_key_depends_on_every_part_and_not_on_their_order():
    key = json_digest(spec="a", threads=1)
    assert key == json_digest(threads=1, spec="a")
    assert (
        len({key, json_digest(spec="b", threads=1), json_digest(spec="a", threads=2), json_digest(spec="a")})
        == 4
    )
