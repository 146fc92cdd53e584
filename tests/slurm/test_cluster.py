"""The four that `make test` runs on a real Slurm: a complete study, a time limit, a dead node, a killed head."""

from __future__ import annotations

from slurm_study import RESULTS


def test_a_complete_study(study, cluster):
    study.run(f"{RESULTS}/tables/cells.csv")
    assert (study.results / "tables/cells.csv").is_file()
