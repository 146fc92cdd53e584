"""From a study and its fit files to any of its tables: which function makes it, from what. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from twostage.analysis.joint_fit import SizesFit
from twostage.analysis.method_fit import MethodFit
from twostage.common.errors import UserError
from twostage.study import Study
from twostage.tables.laws import table_1, table_2, table_7
from twostage.tables.setup import table_3, table_4, table_5
from twostage.tables.sizes import table_8
from twostage.tables.table import Table

_FROM_METHODS = {"table-1": table_1, "table-2": table_2, "table-7": table_7}
_FROM_STUDY = {"table-3": table_3, "table-4": table_4, "table-5": table_5}
MADE = (*_FROM_METHODS, *_FROM_STUDY, "table-8")


def make_table(name: str, study: Study, fits: Sequence[str]) -> Table:
    """Make one table from the texts of its fit files, a row each.

    Raises:
        UserError: not such a table, or a damaged fit file.
    """
    if name in _FROM_STUDY:
        return _FROM_STUDY[name](study)
    if name == "table-8":
        return table_8([SizesFit.from_json(text) for text in fits], study.excluded_cells)
    if name not in _FROM_METHODS:
        raise UserError(f"table {name!r} is not made here; choose one of {', '.join(MADE)}")
    return _FROM_METHODS[name]([MethodFit.from_json(text) for text in fits], study.excluded_cells)
