"""The same design on any number of ranks, whatever the mesh, the solver, the filter and the optimizer."""

import json
from pathlib import Path

import numpy as np
import pytest
from running import MBB, run

#: Prints what every iteration of every problem file came to.
SOLVE = """
import json, sys, morpho
from mpi4py import MPI
found = []
for file in sys.argv[1:]:
    steps = morpho.iterate(morpho.load_problem(file, ["optimizer.max_iterations=10"]))
    found.append([[step.objective, step.volume, step.greyness, step.change] for step in steps])
if MPI.COMM_WORLD.rank == 0:
    print(json.dumps(found))
"""

BOX_2D = MBB.replace("[12, 4], cells: [12, 4]", "[30, 10], cells: [30, 10]").replace("[12, 0]", "[30, 0]")
BOX_2D = BOX_2D.replace("[0, 4]", "[0, 10]") + "solver: {preset: direct}\n"

BOX_3D = """
mesh: {box: {size: [2, 1, 1], cells: [12, 6, 6], cell: %s}}
supports:
  - {region: {plane: {axis: x, at: 0}}}
loads:
  - {forces: [{region: {all_of: [{plane: {axis: x, at: 2}}, {plane: {axis: z, at: 0}}]}, line: [0, 0, -1]}]}
constraints:
  - {volume_fraction: 0.3}
design:
  filter: {kind: %s, radius: 0.25}
solver: {preset: multigrid}
"""

PLATE = """
mesh: {file: plate.msh, refine: 1}
supports:
  - {region: left}
loads:
  - {forces: [{region: right, total: [0, -1]}]}
constraints:
  - {volume_fraction: 0.4}
design:
  filter: {kind: cone, radius: 0.1}
  passive: {solid: [ring]}
"""

PROJECTED = BOX_2D.replace(
    "filter: {kind: cone, radius: 1.5}",
    "filter: {kind: helmholtz, radius: 3}\n  projection: {beta: {start: 1, max: 8, every: 4, factor: 2}}",
).replace("cells: [30, 10]", "cells: [30, 10], cell: triangle")

PROBLEMS = {
    "box_2d_direct": BOX_2D,
    "hexahedra_multigrid": BOX_3D % ("hexahedron", "sensitivity"),
    "tetrahedra_multigrid_mma": BOX_3D % ("tetrahedron", "cone") + "optimizer: {kind: mma}\n",
    "coarser_grids_first": BOX_3D % ("hexahedron", "cone") + "optimizer: {levels: [{coarser: 2, until: 4}]}\n",
    "gmsh_plate_refined": PLATE,
    "gmsh_plate_simpl": PLATE + "optimizer: {kind: simpl}\n",
    "helmholtz_projection_simpl": PROJECTED + "optimizer: {kind: simpl}\n",
    "helmholtz_projection": PROJECTED,
    "helmholtz_projection_mma": PROJECTED + "optimizer: {kind: mma, move_limit: 0.1}\n",
}


def write_plate(path: Path) -> None:
    """A plate with a hole by gmsh: groups left and right (edges), ring and rest (cells around the hole and not)."""
    import gmsh

    gmsh.initialize(interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.option.setNumber("Mesh.MeshSizeMax", 0.12)
        model = gmsh.model
        disks = [model.occ.addDisk(0.6, 0.5, 0, radius, radius) for radius in (0.2, 0.3)]
        plate = model.occ.addRectangle(0, 0, 0, 2, 1)
        model.occ.fragment([(2, plate)], [(2, disk) for disk in disks])
        model.occ.synchronize()
        by_area = sorted(model.getEntities(2), key=lambda entity: model.occ.getMass(*entity))
        ring, hole, rest = (tag for _, tag in (by_area[1], by_area[0], by_area[2]))
        model.removeEntities([(2, hole)])
        for name, cells in (("ring", ring), ("rest", rest)):
            model.addPhysicalGroup(2, [cells], name=name)
        for name, x in (("left", 0.0), ("right", 2.0)):
            edges = model.getEntitiesInBoundingBox(x - 1e-3, -1, -1, x + 1e-3, 2, 1, dim=1)
            model.addPhysicalGroup(1, [tag for _, tag in edges], name=name)
        model.mesh.generate(2)
        gmsh.write(str(path))
    finally:
        gmsh.finalize()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All problem files."""
    folder = tmp_path_factory.mktemp("ranks")
    write_plate(folder / "plate.msh")
    for name, text in PROBLEMS.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def histories(ranks: int, folder: Path) -> dict[str, np.ndarray]:
    """(iterations, 4) objective, volume, greyness and change of every problem."""
    done = run(ranks, *(f"{name}.yaml" for name in PROBLEMS), cwd=folder, program=("-c", SOLVE), timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(zip(PROBLEMS, map(np.array, json.loads(done.stdout)), strict=True))


@pytest.fixture(scope="module")
def serial(folder: Path) -> dict[str, np.ndarray]:
    return histories(1, folder)


@pytest.fixture(scope="module", params=[2, 3])
def parallel(request: pytest.FixtureRequest, folder: Path) -> dict[str, np.ndarray]:
    return histories(request.param, folder)


@pytest.mark.parametrize("name", PROBLEMS)
def test_same_on_any_number_of_ranks(name: str, serial: dict[str, np.ndarray], parallel: dict[str, np.ndarray]) -> None:
    alone, together = serial[name], parallel[name]
    assert len(alone) == len(together) >= 6
    assert alone[-1, 0] < 0.9 * alone[0, 0]
    np.testing.assert_allclose(together[:, 0], alone[:, 0], rtol=1e-6)
    np.testing.assert_allclose(together[:, 1:], alone[:, 1:], atol=1e-5)
