"""The six models of the paper's Table 3, as architectures."""

from __future__ import annotations

from twostage.common.architecture import Architecture

# Table 3: name, n_layer, d_model, n_head, N
TABLE_3 = [
    ("15M", 9, 320, 4, 14_751_680),
    ("44M", 12, 480, 8, 44_248_800),
    ("0.1B", 15, 640, 8, 98_323_840),
    ("0.2B", 21, 832, 8, 232_623_040),
    ("0.5B", 26, 1_120, 16, 521_889_760),
    ("1B", 30, 1_504, 16, 1_085_859_424),
]
SIZES = [row[0] for row in TABLE_3]


def paper_size(index: int, **changes: object) -> Architecture:
    _, n_layer, d_model, n_head, _ = TABLE_3[index]
    arch = Architecture(
        n_layer=n_layer,
        d_model=d_model,
        n_head=n_head,
        head_dim=d_model // n_head,
        d_mlp=4 * d_model,
        vocab_size=32_000,
        context=1_024,
    )
    return arch.with_shape(**changes)
