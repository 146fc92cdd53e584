"""The JSON schema of study files, generated from the models: editors complete and check keys while one types.

`python -m twostage.schema PATH` writes it; a test keeps `config/study.schema.json` in step with the models.
"""

from __future__ import annotations

import json
import sys

from twostage.storage import write_atomic
from twostage.study import Study


def study_schema() -> str:
    """Return the schema as indented JSON text."""
    schema = Study.model_json_schema()
    # A study is named after its file; the key itself is refused in YAML.
    del schema["properties"]["name"]
    schema["required"].remove("name")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=2) + "\n"


if __name__ == "__main__":
    write_atomic(sys.argv[1], study_schema())
