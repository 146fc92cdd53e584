"""Convert runs and their files to paths and back. A path identifies its job, with exact token counts.

All paths are relative to `results/<study>/`. Nothing here reads the disk or the study.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

from twostage.common.errors import UserError

_NAME = r"[A-Za-z0-9][A-Za-z0-9.-]*"
_SCHEDULE = "wsd|constant|cosine"
#: Regular expressions of the paths of runs, for Snakemake's wildcard constraints.
RUN_PATTERN = rf"stage1/{_NAME}/{_NAME}/seed-\d+(?:/(?:{_SCHEDULE}))?|stage2/{_NAME}/{_NAME}/seed-\d+/D1-\d+"
STAGE2_RUN_PATTERN = rf"stage2/{_NAME}/{_NAME}/seed-\d+/D1-\d+"
#: The study's tokenizer, and the spec that it was made from.
TOKENIZER = "tokens/tokenizer.json"
TOKENIZER_RECORD = "tokens/tokenizer-spec.json"
#: File next to the manifest of a grown checkpoint: its spec and key.
GROWTH_RECORD = "growth.json"


@dataclass(frozen=True, order=True)
class Stage1Run:
    """A trunk and its branches, trained from scratch on one corpus; `schedule` is empty for the recipe's schedule."""

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
    """A trunk and its branches, trained from the base checkpoint at D1; `model` is the base model."""

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
    """Return the run with the folder `path` (the inverse of `run.path`)."""
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
    """A training job of a run, identified by the tokens that the run has been trained on when the job ends."""

    run: Run
    tokens: int

    @property
    @abstractmethod
    def folder(self) -> str:
        """Folder of the job's outputs."""

    @property
    def manifest(self) -> str:
        """The checkpoint's manifest, the file that dependent jobs take as input."""
        return f"{self.folder}/checkpoint/manifest.json"

    @property
    def metrics(self) -> str:
        """The job's metrics: speed, gradient norm and spec."""
        return f"{self.folder}/metrics.json"


class Segment(_Job):
    """The job that trains from one grid point of the trunk to the next. It saves the training state at `tokens`."""

    @property
    def folder(self) -> str:
        """Folder of the job's outputs."""
        return f"{self.run.path}/trunk/{self.tokens}"


class Branch(_Job):
    """The job that trains the decay ending at D = `tokens`. It saves the weights, which are evaluated.

    With a constant schedule the decay has no steps; with a cosine schedule it is the complete run.
    """

    @property
    def folder(self) -> str:
        """Folder of the job's outputs."""
        return f"{self.run.path}/decay/D{self.run.stage}-{self.tokens}"

    def evaluation(self, corpus: str) -> str:
        """Return the file with the loss on the held-out split of a corpus."""
        return f"{self.folder}/eval-{corpus}.json"


def grown_manifest(run: Stage2Run) -> str:
    """Return the manifest of the grown checkpoint that a growth run starts from."""
    return f"{run.path}/init/checkpoint/manifest.json"


def tokens_manifest(corpus: str) -> str:
    """Return the manifest of a tokenised corpus."""
    return f"tokens/{corpus}/manifest.json"


def parse_artifact(path: str) -> Segment | Branch:
    """Return the segment or branch that a file belongs to."""
    match = re.match(rf"(?P<run>{RUN_PATTERN})/(?:trunk/(?P<trunk>\d+)|decay/D[12]-(?P<decay>\d+))/", path)
    if not match:
        raise UserError(
            f"{path}: not a file of a trunk segment or decay branch; expected <run>/trunk/<tokens>/... or <run>/decay/D<stage>-<tokens>/..."
        )
    run = parse_run(match["run"])
    return Segment(run, int(match["trunk"])) if match["trunk"] else Branch(run, int(match["decay"]))
