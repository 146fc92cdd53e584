"""The trainer: one update against plain PyTorch, chains and branches bit by bit, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from test_growth import llama, random_state
from tiny_training import TINY, identity, job, losses, manifest, metrics, run, steps, train_spec

from twostage import checkpoint
from twostage.corpora.samples import SampleStream, TokenSplit
from twostage.errors import UserError
from twostage.model import start_process_group
from twostage.schedule import Schedule
from twostage.storage import read_manifest
from twostage.study import OptimizerRecipe
from twostage.train import DivergedError, Execution, train
from twostage.training import state as training_state
from twostage.training.trainer import Trainer

BATCHES = torch.randint(300, (20, 8, 17), generator=torch.Generator().manual_seed(0))


def trainer(micro_batch=None, **changes):
    start_process_group("cpu")
    return Trainer(train_spec(**changes), Execution(micro_batch=micro_batch))


def weights(this):
    return checkpoint.to_canonical(this.core.state_dict(), this.spec.architecture)


@pytest.fixture(scope="module")
def trunk(corpus_folder, tmp_path_factory):
    """A trunk of 20 steps, trained at one go."""
    return run(train_spec(), tmp_path_factory.mktemp("trunk"), corpus_folder)


@pytest.fixture(scope="module")
def half(corpus_folder, tmp_path_factory):
    """The first 10 steps of `trunk`."""
    return run(train_spec(stop_step=10), tmp_path_factory.mktemp("half"), corpus_folder)


# One update


def plain_losses(spec, state, n_steps):
    """Losses and pre-clip gradient norms of Hugging Face's model under torch.optim.AdamW, written independently."""
    model = llama({name: tensor.clone() for name, tensor in state.items()}, spec.architecture)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
        eps=1e-8,
    )
    found = []
    for step in range(1, n_steps + 1):
        batch = BATCHES[step - 1]
        logits = model(batch[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, spec.recipe.grad_clip)
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * min(1, step / 4)
        optimizer.step()
        found.append((loss.item(), norm.item()))
    return found


def test_twenty_updates_equal_plain_pytorch_on_hugging_faces_model():
    this = trainer(recipe=OptimizerRecipe(grad_clip=1.5))
    theirs = plain_losses(this.spec, weights(this), 20)
    ours = [this.update(step, BATCHES[step - 1]) for step in range(1, 21)]
    assert (
        max(norm for _, norm in theirs) > 1.5 > min(norm for _, norm in theirs)
    )  # both branches of the clip ran
    for (loss, norm), (expected_loss, expected_norm) in zip(ours, theirs, strict=True):
        assert loss == pytest.approx(expected_loss, abs=1e-5)
        assert norm == pytest.approx(expected_norm, rel=1e-4)


@pytest.mark.parametrize(
    "recipe",
    [
        {"weight_decay": 0.3},
        {"adam_beta1": 0.8},
        {"adam_beta2": 0.999},
        {"adam_eps": 1e-3},
        {"grad_clip": 1e-7},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_of_the_optimizer_reaches_it(recipe):
    """Negative control of the test above: each setting alone changes the run."""
    runs = []
    for changes in ({}, recipe):
        this = trainer(recipe=OptimizerRecipe(**changes))
        runs.append([this.update(step, BATCHES[step - 1])[0] for step in range(1, 7)])
    assert runs[0][0] == runs[1][0]
    assert abs(runs[0][-1] - runs[1][-1]) > 1e-5


def test_weight_decay_leaves_vectors_alone():
    """With a zero gradient AdamW's update is the decay alone."""
    this = trainer(peak_lr=0.5, warmup_steps=0)
    optimizer = this.optimizer.optimizer
    decays = {p: group["wd_mult"] * 0.1 for group in this.optimizer.param_groups for p in group["params"]}
    assert len(decays) == len(list(this.core.parameters()))
    before = {name: p.detach().clone() for name, p in this.core.named_parameters()}
    this.update(1, BATCHES[0])  # sets the groups' rates
    with torch.no_grad():
        for name, p in this.core.named_parameters():
            p.copy_(before[name])
            p.grad = torch.zeros_like(p)
    optimizer.state.clear()
    optimizer.step()
    for name, p in this.core.named_parameters():
        factor = 1.0 if p.ndim == 1 else 1 - 0.5 * 0.1
        assert decays[p] == (0.0 if p.ndim == 1 else 0.1), name
        assert torch.allclose(p, before[name] * factor, rtol=1e-6, atol=0), name


def test_gradient_accumulation_changes_rounding_only():
    whole, parts = trainer(), trainer(micro_batch=2)
    one = [whole.update(step, BATCHES[step - 1]) for step in range(1, 9)]
    two = [parts.update(step, BATCHES[step - 1]) for step in range(1, 9)]
    assert one != two  # another order of summation did run
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, rel=1e-5)


@pytest.mark.parametrize("micro_batch", [3, 5, 16])
def test_a_micro_batch_that_does_not_divide_is_refused(micro_batch):
    with pytest.raises(
        UserError, match=f"--micro-batch: {micro_batch} samples on 1 ranks do not divide the batch of 8"
    ):
        trainer(micro_batch=micro_batch)


# Runs


def test_learning_rates_of_a_run_are_those_of_its_schedule(trunk, half, corpus_folder, tmp_path):
    branch = run(branch_spec(), tmp_path, corpus_folder, parent=manifest(half))
    assert [line["step"] for line in steps(trunk)] == list(range(1, 21))
    assert [line["lr"] for line in steps(trunk)] == [5e-3 * step / 4 for step in (1, 2, 3)] + [5e-3] * 17
    assert [line["step"] for line in steps(branch)] == [11, 12]
    assert [line["lr"] for line in steps(branch)] == [pytest.approx(0.55 * 5e-3), 5e-4]


def test_the_loss_of_the_first_step_is_that_of_the_drawn_weights_on_the_first_batch(trunk, corpus_folder):
    stream = SampleStream([TokenSplit(corpus_folder, "train")], [1], seed=3, context=16)
    batch = torch.from_numpy(stream.batch(0, 8))
    model = llama(weights(trainer()), TINY)
    expected = model(batch[:, :-1]).logits.flatten(0, 1)
    assert losses(trunk)[0] == pytest.approx(
        torch.nn.functional.cross_entropy(expected, batch[:, 1:].flatten()).item(), abs=1e-5
    )
    assert losses(trunk)[-1] < losses(trunk)[0] - 0.3


def test_a_run_repeats_bit_by_bit(trunk, corpus_folder, tmp_path):
    assert identity(run(train_spec(), tmp_path, corpus_folder)) == identity(trunk)


def test_two_segments_are_one_long_segment_bit_by_bit(trunk, half, corpus_folder, tmp_path):
    second = run(train_spec(start_step=10, origin="state"), tmp_path, corpus_folder, parent=manifest(half))
    assert steps(half) + steps(second) == steps(trunk)
    assert manifest(second).read_text() == manifest(trunk).read_text()
    norms = [line["grad_norm"] for line in steps(trunk)[4:]]  # after the warmup, over both segments
    assert metrics(second)["grad_norm_mean"] == pytest.approx(sum(norms) / len(norms), rel=1e-12)
    assert metrics(second)["grad_norm_mean"] == metrics(trunk)["grad_norm_mean"]


def branch_spec(**changes):
    return train_spec(**{"start_step": 10, "stop_step": 12, "decay_start": 10, "origin": "state"} | changes)


def test_a_decay_branch_shares_its_trunk_exactly(trunk, half, corpus_folder, tmp_path):
    branch = run(branch_spec(), tmp_path, corpus_folder, parent=manifest(half))
    # The same weights see the same batch in update 11; from then on the rates differ.
    assert steps(branch)[0]["loss"] == steps(trunk)[10]["loss"]
    assert steps(branch)[1]["loss"] != steps(trunk)[11]["loss"]
    state, architecture = checkpoint.load_weights(manifest(branch))
    assert architecture == TINY
    assert metrics(branch)["grad_norm_mean"] == metrics(half)["grad_norm_mean"]  # of the trunk only

    again = trainer()
    checkpoint.load_training_state(manifest(half), again.core, again.optimizer)
    again.schedule = branch_spec().schedule
    stream = SampleStream([TokenSplit(corpus_folder, "train")], [1], seed=3, context=16)
    for step in (11, 12):
        again.update(step, torch.from_numpy(stream.batch((step - 1) * 8, 8)))
    expected = weights(again)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_a_second_stage_starts_from_the_weights_with_a_fresh_optimizer(half, corpus_folder, tmp_path):
    branch = run(branch_spec(), tmp_path / "base", corpus_folder, parent=manifest(half))
    spec = train_spec(origin="weights", stop_step=4, first_sample=96)
    second = run(spec, tmp_path / "second", corpus_folder, parent=manifest(branch))
    assert [line["lr"] for line in steps(second)] == [
        5e-3 * step / 4 for step in (1, 2, 3, 4)
    ]  # warmed up again

    by_hand = trainer()
    state, _ = checkpoint.load_weights(manifest(branch))
    checkpoint.load_into(by_hand.core, state, TINY)
    stream = SampleStream([TokenSplit(corpus_folder, "train")], [1], seed=3, context=16)
    expected = [
        by_hand.update(s, torch.from_numpy(stream.batch(96 + (s - 1) * 8, 8)))[0] for s in (1, 2, 3, 4)
    ]
    assert losses(second) == expected


def test_a_mixture_reads_all_its_corpora(trunk, corpus_folder, tmp_path):
    out = run(train_spec(mixture=(("words", 3), ("others", 1)), stop_step=3), tmp_path, corpus_folder)
    assert losses(out) != losses(trunk)[:3]
    n_samples = TokenSplit(corpus_folder, "train").n_samples(16)
    assert metrics(out)["epochs"] == {
        "words": pytest.approx(18 / n_samples),
        "others": pytest.approx(6 / n_samples),
    }


@pytest.mark.parametrize("change", [{"seed": 4}, {"peak_lr": 4e-3}, {"init_std": 0.11}, {"warmup_steps": 5}])
def test_whatever_is_in_the_spec_changes_the_numbers(change, trunk, corpus_folder, tmp_path):
    out = run(train_spec(stop_step=3, **change), tmp_path, corpus_folder)
    assert losses(out) != losses(trunk)[:3]


def test_rolling_saves_do_not_change_the_numbers_and_are_gone_at_the_end(
    half, corpus_folder, tmp_path, monkeypatch
):
    from twostage.training.rolling import RollingState

    saved = []
    complete = RollingState.complete
    monkeypatch.setattr(
        RollingState, "complete", lambda self, step: (complete(self, step), saved.append(step))
    )
    this = job(train_spec(stop_step=10), tmp_path, corpus_folder, save_every_s=0.0)
    train(this)
    assert saved == list(range(1, 10))  # not after the last step, which is the checkpoint itself
    assert identity(this.out) == identity(half)
    assert not (this.rolling / "state").exists()
    assert not list((this.rolling / "lease").iterdir())


def test_metrics_say_what_ran(trunk, corpus_folder):
    found = metrics(trunk)
    assert found["spec"] == train_spec().model_dump(mode="json")
    assert found["final_loss_nats"] == losses(trunk)[-1]
    assert found["resumed_from_step"] is None
    assert found["tokens_per_s"] == pytest.approx(20 * 8 * 16 / found["train_seconds"])
    assert found["epochs"] == {"words": pytest.approx(160 / TokenSplit(corpus_folder, "train").n_samples(16))}
    assert found["versions"]["megatron-core"] == "0.16.1"
    assert found["peak_memory_bytes"] > 50e6


def test_a_finished_job_is_not_trained_again(half, corpus_folder, tmp_path, caplog):
    this = job(train_spec(stop_step=3), tmp_path, corpus_folder)
    train(this)
    before = (this.out / "metrics.json").stat().st_mtime_ns
    train(this)
    assert "another job has just finished this; nothing left to train" in caplog.text
    assert (this.out / "metrics.json").stat().st_mtime_ns == before


def test_a_crash_between_metrics_and_checkpoint_does_not_pass_for_finished(
    corpus_folder, tmp_path, monkeypatch
):
    """The folder holds a checkpoint of an older spec; the new job dies after it has written its metrics."""
    run(train_spec(stop_step=3), tmp_path, corpus_folder)
    save = training_state.save_training_state

    def fail(*_):
        raise OSError("disk full")

    new = train_spec(stop_step=3, peak_lr=1e-3)
    monkeypatch.setattr(training_state, "save_training_state", fail)
    with pytest.raises(OSError, match="disk full"):
        run(new, tmp_path, corpus_folder)
    assert metrics(tmp_path / "out")["spec"]["schedule"]["peak_lr"] == 1e-3
    assert not manifest(tmp_path / "out").exists()
    monkeypatch.setattr(training_state, "save_training_state", save)
    assert identity(run(new, tmp_path, corpus_folder)) == identity(
        run(new, tmp_path / "clean", corpus_folder)
    )


# The optimizer's state carried over


@pytest.fixture(scope="module")
def continued(half, corpus_folder, tmp_path_factory):
    """Update 11 of the trunk."""
    spec = train_spec(start_step=10, stop_step=11, origin="state")
    return run(spec, tmp_path_factory.mktemp("continued"), corpus_folder, parent=manifest(half))


def carried_spec(**changes):
    """Another run on the data that the trunk would have seen next, at the peak rate from its first update."""
    return train_spec(
        **{"origin": "carried", "first_sample": 80, "warmup_steps": 0, "stop_step": 1} | changes
    )


def payload(out):
    return read_manifest(manifest(out))["payload"]


def test_a_carried_run_goes_on_as_the_trunk_itself_would_bit_by_bit(half, continued, corpus_folder, tmp_path):
    carried = run(carried_spec(), tmp_path / "carried", corpus_folder, parent=manifest(half))
    # Weights, both moments and Adam's own step count; what differs is where the run says it stands.
    assert payload(carried) == payload(continued)
    assert steps(carried) == [steps(continued)[0] | {"step": 1}]
    assert read_manifest(manifest(carried))["origin"]["step"] == 1
    assert metrics(carried)["grad_norm_mean"] == steps(carried)[0]["grad_norm"]  # of this run alone

    second = run(carried_spec(stop_step=3), tmp_path / "longer", corpus_folder, parent=manifest(half))
    third = run(
        carried_spec(start_step=1, stop_step=3, origin="state"),
        tmp_path / "third",
        corpus_folder,
        parent=manifest(carried),
    )
    assert manifest(third).read_text() == manifest(second).read_text()


def test_a_fresh_optimizer_is_not_a_carried_one(half, continued, corpus_folder, tmp_path):
    """Negative control: the same weights, batch and rate."""
    other = trainer()
    checkpoint.load_training_state(manifest(half), other.core, other.optimizer)
    checkpoint.save_weights(tmp_path / "weights", weights(other), TINY, {})
    spec = carried_spec(origin="weights")
    fresh = run(spec, tmp_path, corpus_folder, parent=tmp_path / "weights/manifest.json")
    assert losses(fresh) == losses(continued)
    assert payload(fresh) != payload(continued)


def test_a_carried_run_takes_its_recipe_from_the_spec(half, corpus_folder, tmp_path):
    """Megatron saves the optimizer's settings with its state; they must not come along."""
    norms = []
    for recipe in (OptimizerRecipe(), OptimizerRecipe(adam_beta1=0.5, adam_eps=1e-3)):
        this = trainer(recipe=recipe)
        checkpoint.load_training_state(manifest(half), this.core, this.optimizer)
        this.update(5, BATCHES[0])
        norms.append(this.update(6, BATCHES[1])[1])
        assert {group["betas"] for group in this.optimizer.param_groups} == {(recipe.adam_beta1, 0.95)}
    assert norms[0] != norms[1]


# Schedules


def constant_spec(**changes):
    rates = Schedule(kind="constant", peak_lr=5e-3, warmup_steps=4)
    return train_spec(**{"schedule": rates, "start_step": 10, "stop_step": 10, "origin": "state"} | changes)


def test_a_branch_of_no_steps_is_the_trunk_as_weights(half, corpus_folder, tmp_path):
    trunk = run(constant_spec(start_step=0, origin="init"), tmp_path / "trunk", corpus_folder)
    assert steps(trunk) == steps(half)
    branch = run(constant_spec(), tmp_path / "branch", corpus_folder, parent=manifest(trunk))
    state, architecture = checkpoint.load_weights(manifest(branch))
    assert architecture == TINY
    expected = trainer()
    checkpoint.load_training_state(manifest(half), expected.core, expected.optimizer)
    assert all(torch.equal(state[name], tensor) for name, tensor in weights(expected).items())
    assert steps(branch) == []
    found = metrics(branch)
    assert found["final_loss_nats"] is None  # nothing was trained here
    assert found["tokens_per_s"] is None
    assert found["grad_norm_mean"] == metrics(half)["grad_norm_mean"]
    assert found["epochs"] == metrics(half)["epochs"]


def cosine_spec(**changes):
    rates = Schedule(kind="cosine", peak_lr=5e-3, warmup_steps=4, total_steps=12)
    return train_spec(**{"schedule": rates, "stop_step": 12} | changes)


@pytest.fixture(scope="module")
def cosine(corpus_folder, tmp_path_factory):
    return run(cosine_spec(), tmp_path_factory.mktemp("cosine"), corpus_folder)


def test_a_cosine_run_is_one_branch_from_its_first_step(cosine, trunk):
    lines = steps(cosine)
    assert lines[:4] == steps(trunk)[:4]
    rates = [5e-4 + 4.5e-3 * (1 + math.cos(math.pi * (step - 4) / 8)) / 2 for step in range(4, 13)]
    assert [line["lr"] for line in lines[3:]] == pytest.approx(rates, rel=1e-12)
    assert checkpoint.load_weights(manifest(cosine))[1] == TINY
    norms = [line["grad_norm"] for line in lines[4:]]  # all after the warmup, the falling rates included
    assert metrics(cosine)["grad_norm_mean"] == pytest.approx(sum(norms) / len(norms), rel=1e-12)


def test_a_cosine_run_starts_a_second_stage_too(cosine, corpus_folder, tmp_path):
    second = run(cosine_spec(origin="weights"), tmp_path, corpus_folder, parent=manifest(cosine))
    assert [line["lr"] for line in steps(second)] == [line["lr"] for line in steps(cosine)]
    assert losses(second)[0] < losses(cosine)[0]


def test_a_cosine_run_resumes_within_itself_bit_by_bit(cosine, corpus_folder, tmp_path, monkeypatch, caplog):
    launch = Trainer.launch

    def fail(self, step, batch):
        if step == 8:
            raise OSError("node lost")
        return launch(self, step, batch)

    this = job(cosine_spec(), tmp_path, corpus_folder, save_every_s=0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "launch", fail)
        with pytest.raises(OSError, match="node lost"):
            train(this)
    train(this)
    assert "resuming at step 7 of 12" in caplog.text
    assert metrics(this.out)["resumed_from_step"] == 7
    assert identity(this.out) == identity(cosine)
    assert metrics(this.out)["grad_norm_mean"] == metrics(cosine)["grad_norm_mean"]


# What is refused


def test_a_parent_at_another_step_is_refused(half, corpus_folder, tmp_path):
    spec = train_spec(start_step=12, origin="state")
    with pytest.raises(UserError, match="stands at step 10, the job starts at 12") as error:
        run(spec, tmp_path, corpus_folder, parent=manifest(half))
    assert str(manifest(half)) in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("origin", ["weights", "state", "carried"])
def test_a_missing_parent_is_refused(origin, corpus_folder, tmp_path):
    with pytest.raises(UserError, match=f"--parent: a job with origin '{origin}' needs the manifest"):
        run(train_spec(origin=origin), tmp_path, corpus_folder)


def test_a_parent_of_the_wrong_kind_is_refused(half, corpus_folder, tmp_path):
    with pytest.raises(UserError, match="a 'training-state' checkpoint, where 'weights' is needed"):
        run(train_spec(origin="weights"), tmp_path, corpus_folder, parent=manifest(half))


@pytest.mark.parametrize("origin", ["state", "carried"])
def test_weights_are_no_training_state(origin, corpus_folder, tmp_path):
    checkpoint.save_weights(tmp_path / "parent", random_state(TINY, dtype=torch.float32), TINY, {"step": 0})
    parent = tmp_path / "parent/manifest.json"
    with pytest.raises(UserError, match="a 'weights' checkpoint, where 'training-state' is needed") as error:
        run(train_spec(origin=origin), tmp_path, corpus_folder, parent=parent)
    assert str(parent) in str(error.value)


@pytest.mark.parametrize("origin", ["weights", "state", "carried"])
def test_a_parent_of_another_shape_is_refused(origin, half, corpus_folder, tmp_path):
    other = TINY.with_shape(d_mlp=96)
    if origin == "weights":
        checkpoint.save_weights(tmp_path / "parent", random_state(TINY, dtype=torch.float32), TINY, {})
        parent = tmp_path / "parent/manifest.json"
    else:
        parent = manifest(half)
    spec = train_spec(architecture=other, origin=origin, start_step=10 if origin == "state" else 0)
    with pytest.raises(UserError, match=r"a model of shape .*d_mlp=64.*the job trains .*d_mlp=96"):
        run(spec, tmp_path, corpus_folder, parent=parent)


def test_the_number_of_corpora_must_fit_the_mixture(corpus_folder, tmp_path):
    this = job(train_spec(), tmp_path, corpus_folder)
    with pytest.raises(UserError, match="2 folders for the 1 corpora of the mixture"):
        train(type(this)(**vars(this) | {"tokens": (corpus_folder, corpus_folder)}))


def poisoned(folder, poison):
    """Weights as a stage-2 job reads them, with one value replaced."""
    state = random_state(TINY, dtype=torch.float32)
    poison(state)
    checkpoint.save_weights(folder, state, TINY, {})
    return folder / "manifest.json"


def test_a_loss_that_is_not_a_number_stops_the_job(corpus_folder, tmp_path):
    parent = poisoned(tmp_path / "parent", lambda state: state["lm_head.weight"].fill_(math.nan))
    with pytest.raises(
        DivergedError, match=r"loss is nan.* at step 1 .*lower models\.\*\.peak_lr \(now 0\.005\)"
    ):
        run(train_spec(origin="weights"), tmp_path, corpus_folder, parent=parent)
    assert not (tmp_path / "out").exists()


def test_a_diverged_second_stage_names_its_own_key_too(corpus_folder, tmp_path):
    parent = poisoned(tmp_path / "parent", lambda state: state["lm_head.weight"].fill_(math.nan))
    with pytest.raises(DivergedError, match=r"stage 2: methods\.\*\.peak_lr_fraction scales its peak"):
        run(train_spec(origin="weights"), tmp_path, corpus_folder, parent=parent)


def test_a_gradient_that_is_not_finite_stops_the_job_even_in_the_last_step(corpus_folder, tmp_path):
    """An MLP with huge hidden values and no output: the loss is fine, the gradient's square overflows."""

    def poison(state):
        state["model.layers.1.mlp.up_proj.weight"].fill_(1e30)
        state["model.layers.1.mlp.down_proj.weight"].zero_()

    parent = poisoned(tmp_path / "parent", poison)
    by_hand = trainer()
    checkpoint.load_into(by_hand.core, checkpoint.load_weights(parent)[0], TINY)
    loss, norm = by_hand.update(1, BATCHES[0])
    assert math.isfinite(loss)
    assert not math.isfinite(norm)
    with pytest.raises(DivergedError, match=r"gradient norm (nan|inf) at step 1"):
        run(train_spec(origin="weights", stop_step=1), tmp_path, corpus_folder, parent=parent)
    assert not (tmp_path / "out").exists()


def test_a_loss_far_above_a_uniform_guess_stops_the_job(corpus_folder, tmp_path):
    with pytest.raises(DivergedError, match=r"a uniform guess has 5\.70\): the run diverged") as error:
        run(train_spec(peak_lr=30.0, warmup_steps=0), tmp_path, corpus_folder)
    assert "peak_lr_fraction" not in str(error.value)  # the first stage has no such key
    found = float(str(error.value).split("loss is ")[1].split(",")[0])
    assert found > 3 * np.log(300)
    assert not (tmp_path / "out").exists()
