"""Covariance of the coefficients of a Huber or LAD fit (classical M-estimation, Huber 1981, section 7.6).

cov = tau^2 (J^T J)^-1 with tau^2 = K^2 E psi^2 / (E psi')^2 in centred coordinates, carried to raw units by the exact
Jacobian. The profile-likelihood intervals of `uncertainty` use the same scale.
"""

from __future__ import annotations

import math

import numpy as np

from twostage.laws.objective import Objective
from twostage.laws.points import FloatArray
from twostage.laws.problem import Problem


def score_moments(residuals: FloatArray, spec: Objective, k: int) -> tuple[float, float]:
    """(E psi^2, E psi') of the score psi, estimated from the residuals (m,) of a fit with k free coefficients.

    Expectations are over the residuals, widened by sqrt(m / (m - k)) for the degrees of freedom and smoothed by a
    Gaussian of Silverman's width (variance kept): with 25 points the plain share of residuals inside [-delta, delta]
    would be a count of a few. Where delta is far below the noise a fit drives k residuals to about zero, which carries no
    information about the noise; those are left out instead of widening the others. For `lad`, psi = sign and
    E psi' = twice the density at zero.
    """
    m, size = residuals.size, np.sort(np.abs(residuals))
    dof = max(m - k, 1)
    spread = 1.4826 * float(np.median(size))
    nearly_exact = spec.name == "lad" or spec.delta < 0.3 * spread
    size = size[m - dof :] if nearly_exact else size * np.sqrt(m / dof)
    spread = min(1.4826 * float(np.median(size)), float(np.sqrt(np.mean(size**2))))
    if spread == 0.0:
        return 0.0, 1.0
    share = 0.9 * size.size**-0.2
    size, width = size / np.sqrt(1 + share**2), share * spread / np.sqrt(1 + share**2)
    if spec.name == "lad":
        return 1.0, 2.0 * float(np.mean(_density(size / width))) / width
    above, below = (spec.delta - size) / width, (-spec.delta - size) / width
    inside = _cumulative(above) - _cumulative(below)
    first = float(np.mean(inside))
    # second moment of N(size, width^2) inside, delta^2 outside
    edges = (size + spec.delta) * _density(above) - (size - spec.delta) * _density(below)
    second = (size**2 + width**2) * inside - width * edges + spec.delta**2 * (1.0 - inside)
    return float(np.mean(second)), first


def small_sample_factor(share: float, m: int, k: int) -> float:
    """Huber's correction K = 1 + (k/m) var(psi') / (E psi')^2 of the standard errors, `share` = E psi'.

    Our choice: the ratio is capped at 1/2; the expansion behind it does not hold where delta is far below the noise.
    """
    return 1.0 + (k / m) * min((1.0 - share) / max(share, 1e-300), 0.5)


def variance_scale(residuals: FloatArray, spec: Objective, k: int) -> tuple[float, float]:
    """(tau^2, E psi'): the covariance of the estimates is tau^2 (J^T J)^-1, the objective's curvature E psi' J^T J.

    NaN where there are as many free coefficients as residuals: an exact fit has no information about the noise.
    """
    if residuals.size <= k:
        return np.nan, 1.0
    second, first = score_moments(residuals, spec, k)
    share = 0.0 if spec.name == "lad" else first
    return small_sample_factor(share, residuals.size, k) ** 2 * second / first**2, first


def _density(z: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi))


def _cumulative(z: FloatArray) -> FloatArray:
    return np.array([0.5 * math.erfc(-v / math.sqrt(2.0)) for v in z.tolist()])


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
