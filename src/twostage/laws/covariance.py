"""Covariance of the coefficients of a Huber or LAD fit (classical M-estimation, Huber 1981, section 7.6).

cov = tau^2 (J^T J)^-1 with tau^2 = E psi^2 / (E psi')^2 in centred coordinates, carried to raw units by the exact
Jacobian. The profile-likelihood intervals of `uncertainty` use the same scale.
"""

from __future__ import annotations

import math

import numpy as np

from twostage.laws.objective import Objective
from twostage.laws.points import FloatArray
from twostage.laws.problem import Problem


def score_moments(residuals: FloatArray, spec: Objective, k: int) -> tuple[float, float]:
    """(E psi^2, E psi') of the score psi, for normal noise whose scale comes from the residuals (m,) of a fit with k free
    coefficients: sigma = sqrt(pi / 2) sum |r| / sqrt(m (m - k)).

    The mean absolute residual is less sensitive to outliers than the mean square, and on grids of 16 or 25 cells far less
    variable than a density estimate at zero; the coverage of the intervals (docs/laws.md) rests on it. For `lad`,
    psi = sign and E psi' = twice the density at zero.
    """
    m = residuals.size
    sigma = math.sqrt(math.pi / 2) * float(np.abs(residuals).sum()) / math.sqrt(m * max(m - k, 1))
    if sigma == 0.0:
        return 0.0, 1.0
    if spec.name == "lad":
        return 1.0, math.sqrt(2 / math.pi) / sigma
    edge = spec.delta / sigma
    inside = math.erf(edge / math.sqrt(2))
    beyond = math.erfc(edge / math.sqrt(2))
    density = math.exp(-0.5 * edge * edge) / math.sqrt(2 * math.pi)
    return sigma**2 * (inside - 2 * edge * density) + spec.delta**2 * beyond, inside


def variance_scale(residuals: FloatArray, spec: Objective, k: int) -> tuple[float, float]:
    """(tau^2, E psi'): the covariance of the estimates is tau^2 (J^T J)^-1, the objective's curvature E psi' J^T J.

    NaN where there are as many free coefficients as residuals: an exact fit has no information about the noise.
    """
    if residuals.size <= k:
        return np.nan, 1.0
    second, first = score_moments(residuals, spec, k)
    return second / first**2, first


def covariance_of(problem: Problem, theta: FloatArray, spec: Objective) -> tuple[FloatArray, list[str]]:
    """Covariance in raw units (k, k), in the order of the form's coefficients, and warnings.

    Coordinates at a bound are held there (their variance is reported as NaN); directions that the points do not
    determine give NaN with a warning that names them.
    """
    law, response = problem.law, problem.response
    at = response.evaluate(theta[None])
    residuals = (at.log_pred - problem.y)[0]
    free = (theta > problem.box.lower) & (theta < problem.box.upper)
    variance, _ = variance_scale(residuals, spec, int(free.sum()))
    jacobian = at.jacobian[0][free]
    scale = np.sqrt(np.einsum("km,km->k", jacobian, jacobian))
    names = np.array(law.internal)[free]
    warnings = [f"{name} is not identified by these points" for name in names[scale == 0]]
    if np.isnan(variance):
        warnings.append(
            "as many coefficients as points: no degrees of freedom, so no standard errors or intervals"
        )
    unit = jacobian / np.where(scale > 0, scale, 1.0)[:, None]
    gram = unit @ unit.T
    values, vectors = np.linalg.eigh(gram)
    flat = values < 1e-13 * values[-1]
    length = np.where(scale > 0, scale, 1.0)
    inverse = (vectors / np.where(flat, np.inf, values)) @ vectors.T / length / length[:, None]
    # the variance of a coordinate in a flat direction is not defined
    soft = (np.abs(vectors[:, flat]) > 1e-6).any(axis=1)
    inverse[soft], inverse[:, soft] = np.nan, np.nan
    combined = names[soft & (scale > 0)]
    if combined.size:
        warnings.append(f"not identified by these points (only combinations are): {', '.join(combined)}")
    internal = np.full((theta.size, theta.size), np.nan)
    internal[np.ix_(free, free)] = inverse * variance
    known = np.where(np.isnan(internal), 0.0, internal)
    with np.errstate(all="ignore"):  # a scale may overflow in raw units; its variance is then infinite or NaN
        to_raw = law.raw_jacobian(theta, problem.centre)
        raw = to_raw @ known @ to_raw.T
    # a raw coefficient inherits NaN from any undetermined internal coordinate it depends on
    lost = (np.abs(to_raw) @ np.isnan(np.diag(internal)).astype(float)) > 0
    raw[lost, :] = np.nan
    raw[:, lost] = np.nan
    return raw, warnings
