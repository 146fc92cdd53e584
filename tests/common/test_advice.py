"""Commands in messages can be pasted: they have the study and a profile."""

from __future__ import annotations

from twostage.common.advice import VARIABLE, remake


def test_a_job_advises_the_command_of_its_workflow(monkeypatch):
    monkeypatch.setenv(VARIABLE, "snakemake --profile profiles/slurm --config study=studies/mine.yaml")
    assert (
        remake("results/mine/a/manifest.json")
        == "snakemake --profile profiles/slurm --config study=studies/mine.yaml -f results/mine/a/manifest.json"
    )


def test_outside_the_workflow_the_study_follows_from_the_path(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert (
        remake("results/mine/a/manifest.json", "results/mine/b c.json")
        == "snakemake --profile profiles/local --config study=config/mine.yaml -f results/mine/a/manifest.json 'results/mine/b c.json'"
    )


def test_a_file_that_is_not_a_result_has_no_study(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert (
        remake("elsewhere/manifest.json") == "snakemake --profile profiles/local -f elsewhere/manifest.json"
    )
