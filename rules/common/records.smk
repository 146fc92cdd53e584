# Snakemake's records of finished jobs (.snakemake/metadata), made again from what the outputs carry. Results that were copied
# without them are then planned like those that were not. Outputs of costly jobs carry their spec (see
# src/twostage/planning/recorded.py). The records of tables, fits and figures are kept in results/<study>/records.json.gz.
import gzip
import json

from snakemake.io import IOFile
from snakemake.logging import logger
from snakemake.persistence import RECORD_FORMAT_VERSION, MetadataRecord
from snakemake.persistence.file import FilePersistence

from twostage.common.storage import canonical_json, sha256_file, write_atomic
from twostage.planning import changes, recorded, status

#: Records of the outputs that do not carry a spec.
LEDGER = Path(ANALYSIS, status.LEDGER)
RECORDED_FIELDS = ("rule", "params", "input", "input_checksums")
CHEAP = ("summary.md", "tables/*", "cells/*/*", "fits/**/*.json", "figures/*")


class Records:
    """Snakemake's records of the outputs of this study."""

    def __init__(self):
        self.store = FilePersistence(nolock=True)
        self.checksums = {}

    def checksum(self, path):
        if path not in self.checksums:
            self.checksums[path] = f"sha256:{sha256_file(path)}"
        return self.checksums[path]

    def read(self, path):
        """Return the record of an output as it is now; None if there is none, or the file was replaced since."""
        record = self.store.metadata(IOFile(path))
        if record is None or record.endtime != os.stat(path).st_mtime:
            return None
        return record

    def write(self, path, fields):
        mtime = os.stat(path).st_mtime
        self.store._write_record(
            path,
            MetadataRecord(
                starttime=mtime,
                endtime=mtime,
                incomplete=False,
                record_format_version=RECORD_FORMAT_VERSION,
                **fields,
            ),
        )

    def restore_costly(self):
        """Write the missing records of costly jobs; return the finished jobs that the study would make differently."""
        changed = {}
        results = Path(RESULTS)
        finished = [
            job for job in recorded.costly_jobs(design) if job.is_finished(results)
        ]
        for job in finished:
            outputs = [in_results(output) for output in job.outputs]
            if any(self.store._filter_incomplete_keys(outputs)):
                continue  # --rerun-incomplete runs it again
            params = sorted(map(repr, self.params_of(job)))
            found = [self.read(output) for output in outputs]
            known = all(
                record is not None and record.params == params for record in found
            )
            if known and job.inputs:  # raw text is not an input that Snakemake knows
                continue
            if differences := job.changes(results):
                changed[job] = differences
                params = [repr(f"made with {changes.text(differences)}")]
            inputs = sorted(in_results(path) for path in job.inputs)
            checksums = {
                path: self.checksum(path) for path in inputs if os.path.isfile(path)
            }
            for output in outputs:
                self.write(
                    output,
                    {
                        "rule": job.rule,
                        "params": params,
                        "input": inputs,
                        "input_checksums": checksums,
                    },
                )
        return recorded.with_dependents(
            finished, results, lambda job: changed.get(job, {})
        )

    def params_of(self, job):
        """Return the values of `params` of the job's rule."""
        params = [job.spec().canonical()]
        if isinstance(job.work, (paths.Segment, paths.Branch)):
            stage = f"D{job.work.run.stage}"
            name = "trunk" if isinstance(job.work, paths.Segment) else f"decay-{stage}"
            params.append(f"{ROLLING}/{job.work.run.path}/{name}-{job.work.tokens}")
        return params

    def restore_cheap(self):
        """Write the missing records of tables, fits and figures. What has no record anywhere is made again."""
        ledger = (
            json.loads(gzip.decompress(LEDGER.read_bytes())) if LEDGER.is_file() else {}
        )
        for path in self.cheap_outputs():
            if self.read(path) is not None:
                continue
            entry = ledger.get(os.path.relpath(path, ANALYSIS))
            if entry and entry.pop("checksum") == self.checksum(path):
                self.write(path, entry)
            elif self.store.metadata(IOFile(path)) is None:
                self.write(path, {"params": [repr("unknown")]})

    def save_cheap(self):
        """Write the ledger from Snakemake's records."""
        self.store._clear_cache()
        entries = {}
        for path in self.cheap_outputs():
            record = self.read(path)
            if record is not None:
                entry = {name: record[name] for name in RECORDED_FIELDS}
                entries[os.path.relpath(path, ANALYSIS)] = entry | {
                    "checksum": f"sha256:{sha256_file(path)}"
                }
        if entries:
            write_atomic(
                LEDGER, gzip.compress(canonical_json(entries).encode(), mtime=0)
            )

    def cheap_outputs(self):
        return sorted(
            str(path)
            for pattern in CHEAP
            for path in Path(ANALYSIS).glob(pattern)
            if path.is_file()
        )


REFUSE = str(config.get("refuse_retraining", False)).lower()
if REFUSE not in ("true", "false"):
    raise WorkflowError(
        f"refuse_retraining: {config['refuse_retraining']!r} is neither true nor false"
    )
if workflow.is_main_process:
    RECORDS = Records()
    OUTDATED = explained(RECORDS.restore_costly)()
    RECORDS.restore_cheap()
    if DISCARDED := changes.warning(
        STUDY_FILE, changes.grouped(design, OUTDATED, Path(RESULTS))
    ):
        logger.warning(DISCARDED)


def refuse_retraining(planned):
    """Stop before the first job if finished training would be discarded and the user refuses this.

    `planned`: the segments and branches that will be trained.
    """
    discarded = {job.work for job in OUTDATED} & set(planned)
    if REFUSE == "true" and discarded:
        raise WorkflowError(
            f"refuse_retraining: this run would train {len(discarded)} finished jobs again, e.g. "
            f"{next(iter(discarded)).folder}; undo the change (twostage plan {STUDY_FILE} --changes names it), or run without "
            "refuse_retraining"
        )
