"""The real lm-eval harness on a trained and exported checkpoint, with local tasks in the harness's format."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from drawn_weights import llama, random_state
from tiny_training import ROOT, TINY
from tokenizers import Tokenizer

from twostage.common.errors import UserError
from twostage.design.design import Design
from twostage.evaluation.downstream import evaluate_downstream
from twostage.evaluation.downstream_spec import (
    DownstreamSpec,
    downstream_branches,
    downstream_spec,
    own_task_files,
)
from twostage.methods.expand import expanded_architecture
from twostage.methods.expand_weights import expand_width
from twostage.model.checkpoint import load_weights, save_weights
from twostage.model.export import export_checkpoint
from twostage.study import load_study

N_QUESTIONS = 40
CHOICES = {
    "task": "word_or_noise",
    "dataset_path": "json",
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "{{context}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{label}}",
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")
    ],
    "metadata": {"version": 3.0},
}
LAST_WORD = {
    "task": "last_word",
    "dataset_path": "json",
    "output_type": "loglikelihood",
    "test_split": "test",
    "doc_to_text": "{{text.split(' ')[:-1]|join(' ')}}",
    "doc_to_target": "{{' '+text.split(' ')[-1]}}",
    "metric_list": [
        {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
    ],
    "metadata": {"version": 1.0},
}


@pytest.fixture(scope="module")
def export(learned, corpus_folder, tmp_path_factory):
    """A Hugging Face folder of a model that has learned which words of the corpus are frequent."""
    folder = tmp_path_factory.mktemp("exported") / "hf"
    export_checkpoint(learned, corpus_folder.parent / "tokenizer.json", folder)
    return folder / "manifest.json"


@pytest.fixture(scope="module")
def questions(corpus_folder):
    """Held-out sentences of the corpus, and the same sentences with random letters in the last word."""
    text = sorted(corpus_folder.parent.glob("text/*.txt"))[0].read_text().split()
    draw = random.Random(1)
    found = []
    for number in range(N_QUESTIONS):
        words = text[5 * number : 5 * number + 4]
        noise = "".join(draw.choices("qrstuvwxyz", k=len(words[-1]) + 3))
        choices = [f" {words[-1]}", f" {noise}"]
        label = number % 2
        if label:
            choices.reverse()
        found.append(
            {"context": " ".join(words[:3]), "choices": choices, "label": label, "text": " ".join(words)}
        )
    return found  # fmt: skip


@pytest.fixture(scope="module")
def task_folder(questions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "test.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    for task in (CHOICES, LAST_WORD):
        content = task | {"dataset_kwargs": {"data_files": {"test": str(folder / "test.jsonl")}}}
        (folder / f"{task['task']}.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """The harness's data cache, separate from the user's."""
    import datasets

    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("cache")
    yield
    datasets.config.HF_DATASETS_CACHE = before


SPEC = DownstreamSpec(tasks=("word_or_noise", "last_word"), batch_size=8)


@pytest.fixture(scope="module")
def record(export, task_folder):
    return evaluate_downstream(SPEC, export=export, task_folder=task_folder)


def log_likelihoods(learned, export, pairs):
    """Sum of log-probabilities of each continuation, and whether greedy decoding gives it, from the canonical weights
    in float64 and without padding, as an independent reference."""
    state, architecture = load_weights(learned)
    model = llama({name: tensor.double() for name, tensor in state.items()}, architecture)
    tokenizer = Tokenizer.from_file(str(export.parent / "tokenizer.json"))
    found = []
    for context, continuation in pairs:
        whole = tokenizer.encode(context + continuation).ids
        start = len(tokenizer.encode(context).ids)
        # The longest input is the context; the last token is only predicted.
        shift = max(0, len(whole) - 1 - TINY.context)
        tokens = torch.tensor([whole[shift:]])
        with torch.no_grad():
            logs = model(tokens[:, :-1]).logits.log_softmax(-1)[0]
        targets = tokens[0, 1:]
        chosen = logs.gather(1, targets[:, None])[start - 1 - shift :, 0]
        greedy = bool((logs.argmax(-1) == targets)[start - 1 - shift :].all())
        found.append((float(chosen.sum()), greedy))
    return found


def test_multiple_choice_is_the_larger_likelihood(learned, record, export, questions):
    right = normed = 0
    for question in questions:
        pairs = [(question["context"], choice) for choice in question["choices"]]
        sums = [value for value, _ in log_likelihoods(learned, export, pairs)]
        right += sums[question["label"]] == max(sums)
        means = [value / len(choice) for value, choice in zip(sums, question["choices"], strict=True)]
        normed += means[question["label"]] == max(means)
    metrics = record["tasks"]["word_or_noise"]["metrics"]
    assert metrics["acc"]["value"] == pytest.approx(right / N_QUESTIONS)
    assert metrics["acc_norm"]["value"] == pytest.approx(normed / N_QUESTIONS)
    assert right > 0.8 * N_QUESTIONS  # the model has learned something
    p = right / N_QUESTIONS
    assert metrics["acc"]["stderr"] == pytest.approx(math.sqrt(p * (1 - p) / (N_QUESTIONS - 1)))


def test_last_words_are_scored_by_likelihood(learned, record, export, questions):
    pairs = [question["text"].rsplit(" ", 1) for question in questions]
    scores = log_likelihoods(learned, export, [(context, f" {word}") for context, word in pairs])
    metrics = record["tasks"]["last_word"]["metrics"]
    assert metrics["acc"]["value"] == pytest.approx(sum(greedy for _, greedy in scores) / N_QUESTIONS)
    mean = sum(value for value, _ in scores) / N_QUESTIONS
    assert metrics["perplexity"]["value"] == pytest.approx(math.exp(-mean), rel=1e-4)
    assert metrics["perplexity"]["stderr"] > 0


def test_the_record_describes_the_measurement(record, export):
    assert record["spec"] == SPEC.model_dump(mode="json")
    assert record["harness_version"].startswith("0.4.")
    task = record["tasks"]["word_or_noise"]
    assert (task["version"], task["n_asked"], task["n_questions"]) == (3.0, N_QUESTIONS, N_QUESTIONS)
    assert record["checkpoint"] == json.loads(export.read_text())["payload"]["model.safetensors"]["sha256"]
    json.dumps(record, allow_nan=False)


def test_an_untrained_model_scores_worse(record, export, corpus_folder, task_folder, tmp_path):
    """Negative control: the scores come from the weights."""
    save_weights(tmp_path / "checkpoint", random_state(TINY, dtype=torch.float32), TINY, {})
    tokenizer = corpus_folder.parent / "tokenizer.json"
    export_checkpoint(tmp_path / "checkpoint/manifest.json", tokenizer, tmp_path / "hf")
    other = evaluate_downstream(SPEC, export=tmp_path / "hf/manifest.json", task_folder=task_folder)
    perplexity = [r["tasks"]["last_word"]["metrics"]["perplexity"]["value"] for r in (record, other)]
    assert perplexity[1] > 10 * perplexity[0]


def test_an_expanded_model_answers_as_its_base(record, learned, corpus_folder, task_folder, tmp_path):
    """Expansion preserves the function, with another Hugging Face layout and another epsilon."""
    state, _ = load_weights(learned)
    wide = expanded_architecture(TINY, d_model=44, n_head=3, d_mlp=92)
    save_weights(tmp_path / "checkpoint", expand_width(state, TINY, wide, seed=1), wide, {})
    tokenizer = corpus_folder.parent / "tokenizer.json"
    export_checkpoint(tmp_path / "checkpoint/manifest.json", tokenizer, tmp_path / "hf")
    other = evaluate_downstream(SPEC, export=tmp_path / "hf/manifest.json", task_folder=task_folder)
    assert other["architecture"]["n_head"] == 3
    for task, result in record["tasks"].items():
        for metric, score in result["metrics"].items():
            assert other["tasks"][task]["metrics"][metric]["value"] == pytest.approx(score["value"], rel=1e-4)


def test_a_limit_asks_the_first_questions_only(export, task_folder, record):
    spec = DownstreamSpec(tasks=("word_or_noise",), limit=7)
    task = evaluate_downstream(spec, export=export, task_folder=task_folder)["tasks"]["word_or_noise"]
    assert (task["n_asked"], task["n_questions"]) == (7, N_QUESTIONS)


def test_the_batch_changes_no_answer(export, task_folder, record):
    spec = SPEC.model_copy(update={"batch_size": 3})
    other = evaluate_downstream(spec, export=export, task_folder=task_folder)
    for task, result in record["tasks"].items():
        for metric, score in result["metrics"].items():
            assert other["tasks"][task]["metrics"][metric]["value"] == pytest.approx(score["value"], rel=1e-5)


# Mistakes


def test_an_unknown_task_is_named_with_the_folder(export, task_folder):
    spec = DownstreamSpec(tasks=("word_or_nose",))
    with pytest.raises(UserError, match=r"'word_or_nose' is not a task of lm_eval 0\.4") as error:
        evaluate_downstream(spec, export=export, task_folder=task_folder)
    assert str(task_folder) in str(error.value)
    with pytest.raises(UserError, match=r"or define it in downstream\.task_folder"):
        evaluate_downstream(spec, export=export)


def test_missing_data_is_explained(export, task_folder, tmp_path):
    content = CHOICES | {"dataset_kwargs": {"data_files": {"test": str(tmp_path / "gone.jsonl")}}}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="task word_or_noise: its data could not be loaded") as error:
        evaluate_downstream(DownstreamSpec(tasks=("word_or_noise",)), export=export, task_folder=tmp_path)
    assert "gone.jsonl" in str(error.value)


def test_the_error_without_internet_gives_the_fix(export, tmp_path):
    """The real script, offline, with an empty cache, on one of the paper's tasks."""
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "empty"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT / "src"),
    }
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "workflow/scripts/evaluate_downstream.py"),
            *("--spec", DownstreamSpec(tasks=("piqa",)).canonical()),
            *("--export", str(export), "--out", str(tmp_path / "downstream.json")),
        ],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: task piqa: its data could not be loaded")
    for word in ("baber/piqa", "HF_HOME", "HF_HUB_OFFLINE=1", "downstream.task_folder", "docs/downstream.md"):
        assert word in last
    assert not (tmp_path / "downstream.json").exists()


def test_a_damaged_export_is_named(export, task_folder, tmp_path):
    copy = shutil.copytree(export.parent, tmp_path / "hf")
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="truncated"):
        evaluate_downstream(SPEC, export=copy / "manifest.json", task_folder=task_folder)


def test_another_series_of_the_harness_is_refused(export):
    spec = SPEC.model_copy(update={"harness": "0.3"})
    with pytest.raises(UserError, match=r"lm_eval 0\.4\.\d+ is installed, 0\.3\.x is needed"):
        evaluate_downstream(spec, export=export)


def test_a_missing_task_folder_is_named(export, tmp_path):
    with pytest.raises(UserError, match=r"downstream\.task_folder: .*gone is not a folder"):
        evaluate_downstream(SPEC, export=export, task_folder=tmp_path / "gone")


# The study


def design(tmp_path, **section):
    fields = yaml.safe_load((ROOT / "tests/studies/tiny.yaml").read_text())
    fields["models"]["90k"] = fields["models"]["33k"] | {"d_model": 64}
    fields["downstream"] = section
    path = Path(tmp_path) / "mine.yaml"
    path.write_text(yaml.safe_dump(fields))
    return Design(load_study(path))


def test_the_default_is_the_largest_model_at_its_longest_trunk(tmp_path):
    assert [branch.folder for branch in downstream_branches(design(tmp_path))] == [
        "stage1/generic/90k/seed-0/decay/D1-901120"
    ]
    spec = downstream_spec(design(tmp_path))
    assert spec.tasks == (
        "arc_challenge", "arc_easy", "lambada_openai", "logiqa", "piqa", "sciq", "winogrande",
    )  # fmt: skip
    assert (spec.limit, spec.batch_size, spec.dtype) == (None, 8, "float32")


def test_points_are_taken_in_the_studys_order(tmp_path):
    points = [{"model": "33k", "d1_steps": 200}, {"model": "33k"}]
    assert [branch.tokens for branch in downstream_branches(design(tmp_path, points=points))] == [
        225_280,
        901_120,
    ]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"points": [{"model": "7B"}]}, r"downstream\.points\[0\]\.model: '7B' is not a base model .*33k"),
        ({"points": [{"model": "33k"}, {"model": "33k", "d1_steps": 300}]}, r"points\[1\]\.d1_steps: 300 is not on"),
        ({"points": [{"model": "33k"}, {"model": "33k", "d1_steps": 800}]}, "listed twice"),
        ({"tasks": ["piqa", "piqa"]}, "repeats a task"),
        ({"tasks": []}, r"downstream\.tasks"),
        ({"shots": 5}, r"downstream\.shots: unknown key"),
    ],
)  # fmt: skip
def test_impossible_sections_are_refused(section, message, tmp_path):
    with pytest.raises(UserError, match=message):
        downstream_branches(design(tmp_path, **section))


def test_a_study_without_the_section_says_so():
    with pytest.raises(UserError, match="study tiny has no section `downstream`; add it"):
        downstream_branches(Design(load_study(ROOT / "tests/studies/tiny.yaml")))


def test_own_task_files_are_inputs(task_folder, tmp_path):
    assert own_task_files(design(tmp_path)) == []
    names = [Path(path).name for path in own_task_files(design(tmp_path, task_folder=str(task_folder)))]
    assert names == ["last_word.yaml", "test.jsonl", "word_or_noise.yaml"]
    with pytest.raises(UserError, match=r"task_folder: .* has no \.yaml file"):
        own_task_files(design(tmp_path, task_folder=str(tmp_path / "gone")))


@pytest.mark.parametrize(
    "module", ["twostage.evaluation.downstream_spec", "twostage.model.hf_config", "twostage.cli.export"]
)
def test_the_dag_and_the_help_import_neither_torch_nor_the_harness(module):
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'lm_eval', 'transformers', 'pandas'}} & set(sys.modules)))"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}
    )
