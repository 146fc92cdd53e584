"""The methods of stage 2, one module for each kind: continual pretraining, and each kind of model growth.

`base` defines the interface (`Method`, `Growth`). Each kind is one class in one module (`cpt`, `stack`, `expand`). The class
has the keys of its section in the study file, the shape of the grown model, the options of its growth job, the operator on
weights (for `expand` in `expand_weights`) and the title. `measured` is for methods that were measured elsewhere. `AnyMethod` is the only list of kinds. Importing this package does
not import torch. Imports `common`.
"""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from twostage.methods.base import Growth, Method, ScheduleKind
from twostage.methods.cpt import Cpt
from twostage.methods.expand import Expand
from twostage.methods.measured import Measured
from twostage.methods.stack import Stack

#: Every kind of method, told apart by the key `kind`. A new kind is added here.
AnyMethod = Annotated[Cpt | Stack | Expand | Measured, Field(discriminator="kind")]


def growth_of(fields: dict[str, Any]) -> Growth:
    """Build the growth method that `kind` and the other keys describe, as in a study file.

    Raises:
        ValueError: no kind of growth has this name, or one of its keys is wrong.
    """
    method: Method = TypeAdapter[Any](AnyMethod).validate_python(fields)
    if not isinstance(method, Growth):
        raise ValueError(f"kind: {method.kind!r} does not grow the model")
    return method


__all__ = ["AnyMethod", "Cpt", "Expand", "Growth", "Measured", "Method", "ScheduleKind", "Stack", "growth_of"]
