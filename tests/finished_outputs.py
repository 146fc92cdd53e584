"""Small files of a finished study, with the specs and keys that its jobs would write, and without any training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twostage.common.storage import json_digest, sha256_file
from twostage.design.design import Design
from twostage.design.paths import GROWTH_RECORD
from twostage.planning.recorded import CostlyJob, costly_jobs


def finish(design: Design, results: Path) -> None:
    """Write the outputs of every costly job to the folder `results`."""
    outputs = [(job, output) for job in costly_jobs(design) for output in job.outputs]
    # A key is a digest of other jobs' manifests, so these are first.
    for job, output in sorted(
        outputs, key=lambda item: not item[1].endswith(("manifest.json", "tokenizer.json"))
    ):
        path = results / output
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_content(design, job, output, results)))
    for job in costly_jobs(design):
        if job.rule == "grow_checkpoint":
            spec, base = job.spec(), json.loads((results / job.inputs[0]).read_text())
            record = {
                "spec": spec.model_dump(mode="json"),
                "key": json_digest(spec=spec.canonical(), parent=base, data=[]),
            }
            (results / job.outputs[0]).with_name(GROWTH_RECORD).write_text(json.dumps(record))


def _content(design: Design, job: CostlyJob, output: str, results: Path) -> dict[str, Any]:
    spec: Any = job.spec()
    match job.rule:
        case "prepare_corpus":
            splits = {
                name: {"bytes": 1000, "documents_sha256": spec.name + name} for name in ("train", "valid")
            }
            counts = {"near_duplicates_of_validation": 0}
            return {"definition": spec.corpus.model_dump(mode="json"), "counts": counts, "splits": splits}
        case "train_tokenizer":
            vocabulary = {str(entry): entry for entry in range(design.study.tokenizer.vocab_size)}
            return {"model": {"vocab": vocabulary}, "added_tokens": []}
        case "tokenize_corpus":
            texts = json.loads((results / job.inputs[0]).read_text())["splits"]
            return {
                "revision": 1,
                "documents_sha256": {name: split["documents_sha256"] for name, split in texts.items()},
                "tokenizer_sha256": sha256_file(results / job.inputs[1]),
            }
        case "grow_checkpoint":
            return {
                "architecture": spec.target.to_json(),
                "origin": spec.model_dump(mode="json", exclude={"source", "target"}),
            }
    if output.endswith("manifest.json"):
        return {"payload": {}, "made_by": output}
    read = {
        path: json.loads((results / path).read_text()) for path in job.inputs if (results / path).is_file()
    }
    data = [content for path, content in read.items() if path.startswith("tokens/")]
    parents = [content for path, content in read.items() if not path.startswith("tokens/")]
    key = json_digest(spec=spec.canonical(), parent=parents[0] if parents else None, data=data)
    return {"spec": spec.model_dump(mode="json"), "key": key, "train_seconds": 36.0, "ranks": 2}
