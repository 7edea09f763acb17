"""The functionals of a problem on its mesh."""

from __future__ import annotations

from collections.abc import Sequence

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
from morpho.problem.check import functionals
from morpho.problem.functional_spec import FunctionalSpec
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
        return np.concatenate([np.array(part) for part in mesh.places(cells=True)])[:, : mesh.dim]

    def within(region: Region, place: str) -> Array:
        inside = np.zeros(mesh.n)
        inside[cells_in(mesh, region)] = 1
        if not any_rank(mesh.comm, bool(inside.any())):
            said.append(f"{place}: no cell lies in {region}; {advice(mesh, region, cells=True)}")
        return inside

    def make(spec: FunctionalSpec, place: str) -> Functional:
        inside = np.ones(mesh.n) if spec.region is None else within(spec.region, f"{place}.region")

        def without(others: Sequence[Region]) -> Array:
            left = inside.copy()
            for i, region in enumerate(others):
                left *= 1 - within(region, f"{place}.exclude[{i}]")
            if not any_rank(mesh.comm, bool(left.any())):
                said.append(f"{place}.exclude: leaves no cell; make it smaller")
                return inside
            return left

        def member(part: FunctionalSpec, key: str) -> Functional:
            return make(part, f"{place}.{key}")

        where = (mesh.comm, mesh.dim, mesh.volumes, centers, inside)
        case, count = problem.case_of(spec), len(problem.loads)
        return registry.create(spec, Setting(*where, case, count, solid, without, member))

    for spec in problem.functionals:
        made.append(make(spec, next(place for place, given in functionals(problem) if given.unlimited == spec)))
    if said:
        raise InputError(said)
    return made
