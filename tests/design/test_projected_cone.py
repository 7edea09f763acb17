"""The cone filter and the projection in one pass are what they are one after the other, and tried designs are kept."""

import numpy as np
import pytest
from voxel_filter_facts import BOXES, voxels

from morpho.design.cone import ConeFilter
from morpho.design.projection import HeavisideProjection
from morpho.design.tried import Tried
from morpho.design.voxel_cone import ProjectedCone, VoxelNeighbourhood


@pytest.mark.parametrize("radius", [1.2, 1.5, 3.3])
@pytest.mark.parametrize("name", BOXES)
def test_one_pass_is_both(name: str, radius: float) -> None:
    mesh, rng = voxels(name), np.random.default_rng(0)
    around, projection = VoxelNeighbourhood(mesh, radius * mesh.cell_size), HeavisideProjection(4.0, 0.4)
    x, d = rng.random((2, mesh.n))
    filtered, unfilter = ConeFilter(around).apply(x)
    expected, unproject = projection.apply(filtered)
    rho, pullback = ProjectedCone(around, projection).apply(x)
    np.testing.assert_allclose(rho, expected, rtol=0, atol=1e-14)
    for given in (d, np.broadcast_to(np.float64(0.3), mesh.n)):
        np.testing.assert_allclose(pullback(given), unfilter(unproject(np.array(given))), rtol=0, atol=1e-13)


def test_derivative() -> None:
    """The rate of the Taylor remainder."""
    mesh, rng = voxels(next(iter(BOXES))), np.random.default_rng(1)
    cone = ProjectedCone(VoxelNeighbourhood(mesh, 1.5 * mesh.cell_size), HeavisideProjection(8.0))
    x, step, d = rng.random((3, mesh.n))
    rho, pullback = cone.apply(x)
    misses = [d @ (cone.apply(x + h * step)[0] - rho) - h * pullback(d) @ step for h in (1e-3, 1e-4)]
    assert np.log10(abs(misses[0] / misses[1])) > 1.9


@pytest.mark.parametrize("beta", [0.01, 1.0, 16.0, 300.0, 5000.0])
def test_projection_to_rounding(beta: float) -> None:
    x = np.concatenate([np.linspace(0, 1, 10001), [0.5]])
    for eta in (0.0, 0.3, 0.5, 1.0):
        low, high = np.tanh(beta * eta), np.tanh(beta * (1 - eta))
        rho, pullback = HeavisideProjection(beta, eta).apply(x)
        t = np.tanh(beta * (x - eta))
        np.testing.assert_allclose(rho, (t + low) / (low + high), rtol=0, atol=1e-15 / min(beta, 1))
        slope = beta * (1 - t**2) / (low + high)
        np.testing.assert_allclose(pullback(np.ones_like(x)), slope, rtol=0, atol=1e-14 * max(beta, 1 / beta))
        assert (rho[0], rho[10000]) == (0.0, 1.0)


def test_what_is_not_a_number_stays_so() -> None:
    assert np.isnan(HeavisideProjection(4.0).apply(np.array([np.nan, 0.5]))[0][0])


def test_only_the_design_that_was_tried_last_is_found() -> None:
    x, rho, tried = np.zeros(3), np.ones(3), Tried()
    assert tried.keep((1.0, 2.0), x, rho, np.negative) is rho
    assert tried.found((1.0, 2.0), x.copy()) is None
    tried.keep((1.0, 2.0), x, rho, np.negative)
    assert tried.found((2.0, 2.0), x) is None
    tried.keep((1.0, 2.0), x, rho, np.negative)
    assert tried.found((1.0, 2.0), x) == (rho, np.negative)
    assert tried.found((1.0, 2.0), x) is None
