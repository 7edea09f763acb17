"""The functionals of a problem on its mesh."""

from __future__ import annotations

import numpy as np

from morpho.errors import InputError
from morpho.fem.law import Law
from morpho.fem.material import make_material
from morpho.functionals import registry
from morpho.functionals.functional import Functional, Setting
from morpho.interfaces import Array
from morpho.mesh import Mesh, VoxelMesh
from morpho.mesh.select import advice, cells_in
from morpho.parallel import any_rank
from morpho.problem.check import regions
from morpho.problem.regions import Region
from morpho.problem.spec import Problem


def make_functionals(problem: Problem, mesh: Mesh | VoxelMesh, law: Law) -> list[Functional]:
    """Those of the objective and the constraints, in the order of `Problem.functionals` (collective).

    Raises:
        InputError: one has a region without a cell.
        OwnCodeError: a user's own one cannot be made.
    """
    solid, said, made = make_material(problem, 1).E * law.matrix(), list[str](), []

    def centers() -> Array:
        return np.concatenate(list(mesh.center_sets()))[:, : mesh.dim]

    def within(region: Region) -> Array:
        inside = np.zeros(mesh.n)
        inside[cells_in(mesh, region)] = 1
        if not any_rank(mesh.comm, bool(inside.any())):
            place = next(place for place, given in regions(problem) if given == region)
            said.append(f"{place}: no cell lies in {region}; {advice(mesh, region, cells=True)}")
        return inside

    for spec in problem.functionals:
        inside = np.ones(mesh.n) if spec.region is None else within(spec.region)
        case = problem.case_of(spec)
        where = (mesh.comm, mesh.dim, mesh.volumes, centers, inside)
        made.append(registry.create(spec, Setting(*where, case, len(problem.loads), solid, within)))
    if said:
        raise InputError(said)
    return made
