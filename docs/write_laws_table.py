"""The table of the laws in `docs/laws.md`; `python docs/write_laws_table.py docs/laws.md` updates it."""

from __future__ import annotations

import sys
from pathlib import Path

from twostage.laws.declarations import DECLARED

BEGIN, END = "<!-- laws: written by docs/write_laws_table.py -->", "<!-- end of laws -->"


def forms_table() -> str:
    """The declared laws as a Markdown table: name, equation, columns, and the coefficients that are at least 0."""
    lines = ["| `--form` | law | columns | at least 0 |", "| --- | --- | --- | --- |"]
    for name, law in DECLARED.items():
        bounded = [c for c, coefficient in law.coefficients.items() if coefficient.lower == 0]
        lines.append(f"| `{name}` | {law.equation} | {' '.join(law.variables)} | {' '.join(bounded)} |")
    return "\n".join(lines)


def main(page: Path) -> None:
    """Replace the table between the two marks of the page."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{forms_table()}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
