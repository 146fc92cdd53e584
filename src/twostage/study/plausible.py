"""Values that are possible but unusual, most often a slip of the pen. `accept_unusual` of the study allows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twostage.study.study import Study

#: Key (`*`: every name) -> smallest and largest usual value.
USUAL: dict[str, tuple[float, float]] = {
    "context": (8, 262_144),
    "models.*.n_layer": (1, 512),
    "models.*.d_model": (4, 65_536),
    "models.*.batch_size": (1, 1_000_000),
    "models.*.peak_lr": (1e-7, 0.1),
    "models.*.init_std": (1e-5, 1),
    "recipe.weight_decay": (0, 1),
    "recipe.grad_clip": (1e-3, 1e3),
    "recipe.adam_eps": (1e-20, 1e-2),
    "recipe.adam_beta1": (0.5, 0.999),
    "recipe.adam_beta2": (0.5, 0.99999),
    "laws.huber_delta": (1e-6, 1),
    "corpora.*.valid_fraction": (1e-7, 0.5),
}


def check_plausible(study: Study) -> None:
    """Raise `ValueError` for the first unusual value whose key is not in `accept_unusual`."""
    keys = set()
    for pattern, (low, high) in USUAL.items():
        for key, value in _values(study, pattern.split(".")):
            keys.add(key)
            if key not in study.accept_unusual and value is not None and not low <= value <= high:
                raise ValueError(
                    f"{key}: {value:g} is unusual (expected {low:g} to {high:g}); correct it, or accept it with "
                    f"accept_unusual: [{key}]"
                )
    for key in study.accept_unusual:
        if key not in keys:
            raise ValueError(
                f"accept_unusual: {key!r} has no usual range; remove it, or write one of {', '.join(USUAL)}"
            )


def _values(section: Any, parts: list[str], above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if not parts:
        yield ".".join(above), section
        return
    name, *rest = parts
    if name == "*":
        for key, value in section.items():
            yield from _values(value, rest, (*above, key))
    else:
        yield from _values(getattr(section, name), rest, (*above, name))
