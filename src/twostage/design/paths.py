"""Runs and artifacts to relative paths, and back: the path is the identity, with exact integer token counts.

All paths are relative to `results/<study>/`. Nothing here looks at a disk or at the study.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

from twostage.common.errors import UserError

_NAME = r"[A-Za-z0-9][A-Za-z0-9.-]*"
_SCHEDULE = "wsd|constant|cosine"
#: Regular expression of a run's path, for Snakemake's wildcard constraints.
RUN_PATTERN = rf"stage1/{_NAME}/{_NAME}/seed-\d+(?:/(?:{_SCHEDULE}))?|stage2/{_NAME}/{_NAME}/seed-\d+/D1-\d+"
STAGE2_RUN_PATTERN = rf"stage2/{_NAME}/{_NAME}/seed-\d+/D1-\d+"


@dataclass(frozen=True, order=True)
class Stage1Run:
    """A trunk and its branches, from scratch, on one corpus; `schedule` is named where it is not the recipe's."""

    corpus: str
    model: str
    seed: int
    schedule: str = ""

    stage = 1

    @property
    def path(self) -> str:
        """Folder of the run."""
        folder = f"stage1/{self.corpus}/{self.model}/seed-{self.seed}"
        return f"{folder}/{self.schedule}" if self.schedule else folder


@dataclass(frozen=True, order=True)
class Stage2Run:
    """A trunk and its branches that start from the base checkpoint at D1; `model` is the base model."""

    method: str
    model: str
    seed: int
    d1_tokens: int

    stage = 2

    @property
    def path(self) -> str:
        """Folder of the run."""
        return f"stage2/{self.method}/{self.model}/seed-{self.seed}/D1-{self.d1_tokens}"


Run = Stage1Run | Stage2Run


def parse_run(path: str) -> Run:
    """Return the run whose folder is `path`; the inverse of `run.path`."""
    if not re.fullmatch(RUN_PATTERN, path):
        raise UserError(
            f"{path}: not a run folder; expected stage1/<corpus>/<model>/seed-<s>[/<schedule>] or stage2/<method>/<model>/seed-<s>/D1-<tokens>"
        )
    parts = path.split("/")
    seed = int(parts[3].removeprefix("seed-"))
    if parts[0] == "stage1":
        return Stage1Run(parts[1], parts[2], seed, *parts[4:])
    return Stage2Run(parts[1], parts[2], seed, int(parts[4].removeprefix("D1-")))


@dataclass(frozen=True, order=True)
class _Job(ABC):
    """A training job of a run, named by the tokens that the run has seen when it ends."""

    run: Run
    tokens: int

    @property
    @abstractmethod
    def folder(self) -> str:
        """Folder of the job's outputs."""

    @property
    def manifest(self) -> str:
        """The checkpoint's manifest: the edge of the DAG."""
        return f"{self.folder}/checkpoint/manifest.json"

    @property
    def metrics(self) -> str:
        """Speed, gradient norm and identity of the training that led here."""
        return f"{self.folder}/metrics.json"


class Segment(_Job):
    """One job: from one grid point of the trunk to the next; ends in a full checkpoint at `tokens`."""

    @property
    def folder(self) -> str:
        """Folder of the job's outputs."""
        return f"{self.run.path}/trunk/{self.tokens}"


class Branch(_Job):
    """One job: the decay that ends at D = `tokens`; its weights are the model that is evaluated.

    Under a constant schedule the decay has no steps, under a cosine schedule it is the whole run.
    """

    @property
    def folder(self) -> str:
        """Folder of the job's outputs."""
        return f"{self.run.path}/decay/D{self.run.stage}-{self.tokens}"

    def evaluation(self, corpus: str) -> str:
        """Validation loss on the held-out split of a corpus."""
        return f"{self.folder}/eval-{corpus}.json"


def grown_manifest(run: Stage2Run) -> str:
    """Manifest of the grown checkpoint that a growth run starts from."""
    return f"{run.path}/init/checkpoint/manifest.json"


def tokens_manifest(corpus: str) -> str:
    """Manifest of a tokenised corpus."""
    return f"tokens/{corpus}/manifest.json"


def parse_artifact(path: str) -> Segment | Branch:
    """Return the segment or branch that a path of one of their files belongs to."""
    match = re.match(rf"(?P<run>{RUN_PATTERN})/(?:trunk/(?P<trunk>\d+)|decay/D[12]-(?P<decay>\d+))/", path)
    if not match:
        raise UserError(
            f"{path}: lies in no trunk segment or decay branch; expected <run>/trunk/<tokens>/... or <run>/decay/D<stage>-<tokens>/..."
        )
    run = parse_run(match["run"])
    return Segment(run, int(match["trunk"])) if match["trunk"] else Branch(run, int(match["decay"]))
