# Input functions of joint.smk; what they check and name is decided in src/twostage/joint_design.py.
from twostage import joint_design


@explained
def joint_cells(wildcards):
    """The cells, for a method whose joint law can be fitted."""
    joint_design.check_joint(study, wildcards.method)
    return rules.aggregate_cells.output.cells


@explained
def scratch_cells(wildcards):
    """The cells, for a corpus whose from-scratch law can be fitted."""
    joint_design.check_scratch(study, wildcards.corpus)
    return rules.aggregate_cells.output.cells


def joint_fits(figure):
    """Input function: the fits behind a figure, the joint law first."""

    @explained
    def fits(wildcards):
        return [
            in_results(path) for path in joint_design.joint_source(study, figure).fits
        ]

    return fits
