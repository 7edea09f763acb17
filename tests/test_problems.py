"""The ready problems: the first designs of a coarse twin of each, pinned."""

from pathlib import Path

import pytest

import morpho

PROBLEMS = Path(__file__).parent.parent / "problems"

#: name -> (overrides that make it coarse, objective of the first and of the third design)
RECORD_RADII = [f"optimizer.stages[{i}].radius={radius}" for i, radius in enumerate((0.2, 0.18, 0.16, 0.15))]
COARSE = {
    "mbb_2d": (["mesh.box.cells=[60,20]"], 1007.0221, 665.69391),
    "black_box_2d": (
        ["objective.kind=compliance", "mesh.box.cells=[30,10]", "design.filter.radius=4"],
        983.866103,
        541.893105,
    ),
    "cantilever_2d": (["mesh.box.cells=[40,20]"], 602.81044, 269.88551),
    "l_bracket_2d": (["mesh.box.cells=[40,40]"], 2011.5317, 1149.9177),
    "multiload_2d": (["mesh.box.cells=[20,20]"], 0.5, 0.63613864),
    "cantilever_3d": (["mesh.box.cells=[16,8,8]", "design.filter.radius=0.2"], 339.555963, 240.416365),
    "cantilever_3d_large": (["mesh.box.cells=[24,12,10]", "design.filter.radius=0.2"], 451.342124, 304.431884),
    "cantilever_3d_huge": (["mesh.box.cells=[24,12,10]", "design.filter.radius=0.2"], 451.342124, 304.431884),
    "bridge_3d_large": (["mesh.box.cells=[32,8,22]", "design.filter.radius=0.2"], 119.110714, 93.7605743),
    "mbb_3d_large": (["mesh.box.cells=[20,6,8]", "design.filter.radius=0.2"], 750.206443, 507.824402),
    "bridge_3d": (["mesh.box.cells=[16,4,16]", "design.filter.radius=0.15"], 74.1007967, 54.8711476),
    "bracket_3d": (["mesh.refine=0"], 63.3462465, 37.0982379),
    "heat_sink_2d": (["mesh.box.cells=[30,30]", "design.filter.radius=0.06"], 2.47384349, 1.39085874),
    "heat_sink_3d": (["mesh.box.cells=[16,16,16]", "design.filter.radius=0.13"], 12.700428, 4.77508445),
    "inverter_2d": (["mesh.box.cells=[40,20]"], 0.117700531, 0.000178263600),
    "gripper_2d": (["mesh.box.cells=[60,30]"], 0.0329644564, -0.0389981626),
    "gripper_3d": (["mesh.box.cells=[32,16,8]", "design.filter.radius=3"], 0.000850429857, -0.00109042247),
    "l_bracket_stress": (["mesh.box.cells=[40,40]", "design.filter.radius=0.06"], 209.613178, 0.533511367),
    "bracket_stress_3d": (["mesh.box.cells=[20,8,20]", "design.filter.radius=0.12"], 3.60325147, 0.405545097),
    "worst_case_3d": (
        ["mesh.box.cells=[20,10,15]", "design.filter.radius=0.2", "design.passive.solid=[]"],
        218.675992,
        170.835591,
    ),
    "robust_2d": (["mesh.box.cells=[60,20]"], 1341.68057, 520.983167),
    "robust_3d": (["mesh.box.cells=[16,8,8]", "design.filter.radius=0.3"], 7962.18037, 4392.78028),
    "beam_frequency": (["mesh.box.cells=[40,5]", "design.filter.radius=0.4"], -71.4400205, -79.4229206),
    "frequency_3d": (
        ["mesh.box.cells=[8,8,24]", "design.filter.radius=0.3", "design.passive.solid=[]"],
        -0.208831189,
        -0.599876548,
    ),
    "peak_displacement_3d": (
        ["mesh.box.cells=[16,16,4]", "design.filter.radius=0.4", "design.passive.solid=[]"],
        0.5,
        0.585785857,
    ),
    "lug_bracket_3d": (["mesh.size=16", "design.filter.radius=30", "design.projection.beta=1"], 10149.9359, 3698.52861),
    "lug_bracket_voxels_3d": (
        ["mesh.spacing=6", "design.filter.radius=18", "design.projection.beta=1"],
        22374.2910,
        3583.63589,
    ),
    "symmetric_bracket_3d": (["mesh.box.cells=[20,12,14]", "design.filter.radius=4"], 227.367763, 230.95206),
    "extruded_profile_3d": (["mesh.box.cells=[20,20,16]", "design.filter.radius=3"], 4.54442136, 1.62413255),
    "cast_part_3d": (["mesh.box.cells=[24,18,15]", "design.filter.radius=3"], 13.8151725, 8.60122803),
    "overhang_cantilever_3d": (["mesh.box.cells=[24,12,12]", "design.filter.radius=4"], 106.946749, 102.22737),
    "porous_infill_3d": (["mesh.box.cells=[48,3,24]", "design.filter.radius=4"], 39.3776709, 45.4348631),
    "record_cantilever": (["mesh.box.cells=[20,10,10]", *RECORD_RADII], 308.554561, 165.443473),
    "displacement_limit_3d": (["mesh.box.cells=[20,10,10]", "design.filter.radius=0.2"], 0.514271352, 0.234942243),
}


def test_every_problem_is_here():
    assert sorted(COARSE) == sorted(file.stem for file in PROBLEMS.glob("*.yaml"))


@pytest.mark.parametrize("name", COARSE)
def test_first_iterations(name):
    overrides, first, third = COARSE[name]
    problem = morpho.load_problem(
        PROBLEMS / f"{name}.yaml",
        [*overrides, "optimizer.max_iterations=3", "solver.rtol=1e-9", "gradient.source=exact", "optimizer.levels=[]"],
    )
    steps = list(morpho.iterate(problem))
    assert [step.iteration for step in steps] == [1, 2, 3]
    meshed = 0.05 if problem.mesh.is_cad else 0.0  # other versions of gmsh make another mesh
    assert steps[0].objective == pytest.approx(first, rel=meshed or 1e-6)
    assert steps[2].objective == pytest.approx(third, rel=meshed or 1e-5)
    assert steps[2].max_constraint < (1e-9 if problem.design.projection is None else 1e-5)
