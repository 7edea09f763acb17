"""Problem files: what is read, what is refused, and in which words."""

import json
import re
from pathlib import Path

import pytest
import yaml
from running import MBB, write_mbb
from typer.testing import CliRunner

from morpho.cli import app
from morpho.errors import InputError
from morpho.problem import Problem, dump_problem, load_problem
from morpho.problem.base import Continuation, is_settled, value_at
from morpho.problem.regions import Region


def complaints(folder: Path, text: str, *overrides: str) -> list[str]:
    """What is wrong with a text, without the folder."""
    path = folder / "file.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_problem(path, overrides)
    return [line.replace(f"{folder}/", "") for line in caught.value.complaints]


def line_of(text: str, fragment: str) -> int:
    """Number of the line of a text in which a fragment stands."""
    return next(i for i, line in enumerate(text.splitlines(), start=1) if fragment in line)


def load(folder: Path, *more: str, overrides: tuple[str, ...] = ()) -> Problem:
    return load_problem(write_mbb(folder, *more), overrides)


def test_defaults(tmp_path: Path) -> None:
    problem = load(tmp_path)
    assert problem.name == "mbb"
    assert problem.mesh.box is not None and len(problem.mesh.box.size) == 2
    assert problem.mesh.refine == 0
    assert (problem.material.E, problem.material.nu, problem.material.penalty) == (1.0, 0.3, 3.0)
    assert (problem.objective.kind, problem.constraints[0].kind) == ("compliance", "volume")
    assert (problem.gradient.source, problem.update, problem.solver.preset) == ("exact", "oc", "auto")
    assert problem.supports[0].components == (0,)
    assert problem.loads[0].weight == 1.0
    assert problem.design.projection is None


def test_name_of_a_file_with_spaces(tmp_path: Path) -> None:
    assert load_problem(write_mbb(tmp_path, name="my first (copy).yaml")).name == "my_first__copy_"


def test_problem_is_frozen(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path).optimizer.move_limit = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("right", "wrong", "where", "meant"),
    [
        ("design:", "desing:", "desing", "design"),
        ("radius: 1.5", "raduis: 1.5", "design.filter.raduis", "radius"),
        ("volume_fraction: 0.5", "volume_fractoin: 0.5", "constraints[0].volume_fractoin", "volume_fraction"),
        ("total: [0, -1]", "totl: [0, -1]", "loads[0].forces[0].totl", "total"),
        ("plane: {axis: x", "plan: {axis: x", "supports[0].region.plan", "plane"),
        ("cells: [12, 4]", "cell_s: [12, 4]", "mesh.box.cell_s", "cells"),
    ],
)
def test_did_you_mean(tmp_path: Path, right: str, wrong: str, where: str, meant: str) -> None:
    text = MBB.replace(right, wrong)
    line = line_of(text, wrong)
    assert f"file.yaml:{line}: {where}: unknown key; did you mean {meant!r}?" in complaints(tmp_path, text)


def test_unknown_key_with_nothing_close(tmp_path: Path) -> None:
    (said,) = complaints(tmp_path, MBB + "output: {zzzz: 1}\n")
    known = "checkpoint_every, checkpoint_minutes, every, first, picture_every"
    assert said.endswith(f"output.zzzz: unknown key; expected one of {known}")


def test_everything_wrong_is_said_at_once_with_its_line(tmp_path: Path) -> None:
    text = (
        MBB.replace("fix: x", "fix: w").replace("radius: 1.5", "radius: -1.5")
        + "material: {nu: 0.6, penalty: -3}\noptimzer: {kind: oc}\n"
    )
    said = complaints(tmp_path, text)
    wanted = {
        "supports[0].fix": "fix: w",
        "design.filter.radius": "radius",
        "material.nu": "material",
        "material.penalty": "material",
        "optimzer": "optimzer",
    }
    for place, fragment in wanted.items():
        assert any(s.startswith(f"file.yaml:{line_of(text, fragment)}: {place}") for s in said), (place, said)
    assert any("radius: got -1.5; input should be greater than 0" in s for s in said)
    assert any("nu: got 0.6; input should be less than 0.5" in s for s in said)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    said = complaints(tmp_path, "optimizer: {kind: mma}\n")
    assert [s.split(": ")[1] for s in said] == ["mesh", "supports", "constraints"]
    assert all("is missing" in s for s in said)


def test_loads_may_be_left_out_where_supports_move(tmp_path: Path) -> None:
    without = "\n".join(line for line in MBB.splitlines() if not line.startswith(("loads", "  - {name")))
    (said,) = complaints(tmp_path, without)
    assert "loads[0].forces: no force and no prescribed displacement" in said


def test_wrong_entries_do_not_count_as_missing_ones(tmp_path: Path) -> None:
    said = complaints(tmp_path, MBB.replace("points: [[12, 0]]", "points: [[12, a]]"))
    assert len(said) == 1
    assert "supports[1].region.points[0][1]" in said[0]


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("", "an empty file"),
        ("- 1\n- 2\n", "a list"),
        ("solid\n", "a single value"),
        ("mesh: {box: {size: [1, 2}\n", ":1: is not YAML"),
        ("mesh:\n\tbox: 1\n", ":2: is not YAML"),
        ("mesh: 1\n---\nmesh: 2\n", "another document"),
        (MBB + "name: !!python/object:os.system ls\n", "the tag '!!python/object:os.system' means nothing"),
        (MBB + "? [1, 2]\n: 3\n", "a list stands where a key is expected"),
        (MBB.replace("1.5", "{{radius}}"), "a mapping stands where a key is expected"),
        (MBB + "material: {E: 2024-13-01}\n", "a date, where a number is expected"),
        (MBB + "1: 2\n", "1: unknown key"),
    ],
)
def test_what_is_not_a_problem(tmp_path: Path, text: str, fragment: str) -> None:
    assert fragment in complaints(tmp_path, text)[0]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_problem(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        load_problem(tmp_path)
    (tmp_path / "mesh.bin").write_bytes(bytes(range(128, 256)))
    with pytest.raises(InputError, match="not a text file"):
        load_problem(tmp_path / "mesh.bin")


def test_a_key_given_twice(tmp_path: Path) -> None:
    text = MBB + "mesh: {file: other.msh}\n"
    (said,) = complaints(tmp_path, text)
    assert said == f"file.yaml:{line_of(text, 'other.msh')}: the key 'mesh' is given twice"
    (said,) = complaints(tmp_path, MBB.replace("radius: 1.5", "radius: 1.5, radius: 2"))
    assert "'radius' is given twice" in said


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "nan", "inf"])
def test_numbers_that_are_not_finite(tmp_path: Path, value: str) -> None:
    (said,) = complaints(tmp_path, MBB + f"material: {{E: {value}}}\n")
    assert "material.E" in said
    assert "finite number" in said
    (said,) = complaints(tmp_path, MBB.replace("total: [0, -1]", f"total: [0, {value}]"))
    assert "loads[0].forces[0].total[1]" in said


def test_overrides(tmp_path: Path) -> None:
    overrides = (
        "optimizer.max_iterations=7",
        "loads[0].weight=2",
        "loads.0.forces[0].total=[1e-3, 0]",
        "material.penalty={start: 1, max: 3, every: 5, step: 1}",
        "solver.petsc_options.ksp_monitor=",
        "name=other",
    )
    problem = load(tmp_path, overrides=overrides)
    assert problem.optimizer.max_iterations == 7
    assert problem.loads[0].weight == 2.0
    assert problem.loads[0].forces[0].total == (0.001, 0.0)
    assert isinstance(problem.material.penalty, Continuation)
    assert problem.solver.petsc_options == {"ksp_monitor": None}
    assert problem.name == "other"


@pytest.mark.parametrize(
    ("override", "fragment"),
    [
        ("optimizer.max_iteratons=7", "did you mean 'max_iterations'?"),
        ("optimizer.max_iterations=many", "optimizer.max_iterations: got 'many'"),
        ("optimizer.max_iterations", "expected path.to.key=value"),
        ("=3", "expected path.to.key=value"),
        ("loads[4].weight=2", "there is no 4"),
        ("loads.tip.weight=2", "there is no 'tip'"),
        ("name.first=2", "there is no 'first'"),
        ("mesh.box.cells=[1,", "the value is not YAML"),
        ("material.E=2024-13-01", "a date, where a number is expected"),
        ("design.filter.radius=.nan", "design.filter.radius: got nan"),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, fragment: str) -> None:
    (said,) = complaints(tmp_path, MBB, override)
    assert fragment in said


RICH = """
material: {penalty: {start: 1, max: 3, every: 10, step: 0.5}, E_min_ratio: 1e-6, interpolation: ramp}
optimizer: {kind: mma, move_limit: 0.1}
objective: {kind: volume}
solver: {petsc_options: {ksp_monitor: null, ksp_rtol: 1.0e-3, ksp_max_it: 5, ksp_lag_norm: true, ksp_min_it: '1'}}
"""


def test_resolved_dump_loads_back_equal(tmp_path: Path) -> None:
    text = MBB.replace(
        "radius: 1.5}",
        "radius: 1.5}\n  projection: {beta: {start: 1, max: 8, every: 20, factor: 2}}\n  passive:\n"
        "    solid: [{all_of: [{box: {min: [0, 0], max: [2, 2]}}, {sphere: {center: [1, 1], radius: 1}}]}]",
    ).replace("  - {volume_fraction: 0.5}", "  - {volfrac: 0.5}\n  - {kind: compliance, max: 100, case: tip}")
    (tmp_path / "rich.yaml").write_text(text + RICH)
    problem = load_problem(tmp_path / "rich.yaml")
    (tmp_path / "again.yaml").write_text(dump_problem(problem))
    assert load_problem(tmp_path / "again.yaml") == problem
    output = {"every": 20, "first": 10, "checkpoint_every": 10, "checkpoint_minutes": 10.0}
    assert yaml.safe_load(dump_problem(problem))["output"] == output


def test_volfrac_is_volume_fraction(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text(MBB.replace("volume_fraction", "volfrac"))
    assert load_problem(tmp_path / "short.yaml").constraints == load(tmp_path).constraints


def test_mesh_path_is_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meshes").mkdir()
    (tmp_path / "problems").mkdir()
    (tmp_path / "meshes" / "plate.msh").write_text("$MeshFormat")
    text = MBB.replace("{box: {size: [12, 4], cells: [12, 4]}}", "{file: ../meshes/plate.msh}")
    (tmp_path / "problems" / "plate.yaml").write_text(text)
    monkeypatch.chdir("/")
    problem = load_problem(tmp_path / "problems" / "plate.yaml")
    assert problem.mesh.file == str(tmp_path / "meshes" / "plate.msh")
    (tmp_path / "copy.yaml").write_text(dump_problem(problem))
    assert load_problem(tmp_path / "copy.yaml") == problem
    (said,) = complaints(tmp_path / "problems", text.replace("plate.msh", "plat.msh"))
    assert said.startswith("file.yaml:2: mesh.file: there is no file")
    assert said.endswith(f"the path is relative to {tmp_path / 'problems'}")


@pytest.mark.parametrize(
    ("right", "wrong", "where"),
    [
        ("total: [0, -1]", "total: [0, -1, 0]", "loads[0].forces[0].total: got 3 numbers"),
        ("points: [[12, 0]]", "points: [[12, 0, 0]]", "supports[1].region.points[0]: got 3 numbers"),
        ("axis: x", "axis: z", "supports[0].region.plane.axis: got z"),
        ("fix: y", "fix: [y, z]", "supports[1].fix: got z"),
        ("fix: y", "fix: y, value: [0, 1]", "supports[1].value: got 2 numbers for 1 held components"),
        ("total: [0, -1]", "line: [0, -1]", "loads[0].forces[0].line: a 2-D mesh has no line loads"),
        ("cells: [12, 4]", "cells: [12, 4, 2]", "mesh.box: size has 2 numbers, cells has 3"),
        ("cells: [12, 4]", "cells: [12, 4], cell: tetrahedron", "but tetrahedron cells are 3-dimensional"),
        ("cells: [12, 4]", "cells: [12, 4], origin: [0, 0, 0]", "size has 2 numbers, origin has 3"),
    ],
)
def test_dimensions(tmp_path: Path, right: str, wrong: str, where: str) -> None:
    said = complaints(tmp_path, MBB.replace(right, wrong))
    assert len(said) == 1
    assert where in said[0]


def test_all_dimension_errors_at_once(tmp_path: Path) -> None:
    text = MBB.replace("[12, 4], cells: [12, 4]", "[12, 4, 4], cells: [12, 4, 4]")
    said = complaints(tmp_path, text)
    assert [s.split(": ")[1] for s in said] == [
        "supports[1].region.points[0]",
        "loads[0].forces[0].region.points[0]",
        "loads[0].forces[0].total",
    ]


@pytest.mark.parametrize(
    ("more", "fragment"),
    [
        ("objective: {kind: volume}", "constraints: the least volume is none at all"),
        ("design: {filter: {kind: sensitivity, radius: 2}, projection: {beta: 2}}", "design.projection: a sensitivity"),
        (
            "constraints: [{volume_fraction: 0.5}, {volume_fraction: 0.3}]\noptimizer: {kind: oc}",
            "optimizer.kind: oc takes",
        ),
        (
            "loads: [{name: own, forces: [{self_weight: [0, -1]}]}]\noptimizer: {kind: oc}",
            "optimizer.kind: oc needs an objective that falls",
        ),
        ("constraints: [{kind: compliance, max: 1, case: tap}]", "there is no load case 'tap'; the cases are tip"),
        ("loads: [{name: tip}]", "loads[0].forces: no force and no prescribed displacement"),
        (
            "mesh: {file: a.msh, box: {size: [1, 1], cells: [1, 1]}}",
            "give exactly one of box, file, voxelize; got box, file",
        ),
        ("loads: [{forces: [{total: [0, 1]}]}]", "total needs a region"),
        ("loads: [{forces: [{body: [0, 1], region: left}]}]", "body acts everywhere"),
        ("design: {filter: {kind: cone}}", "cone needs a radius"),
        ("constraints: [{kind: volum, volume_fraction: 0.5}]", "'volume', 'compliance'"),
        ("material: {penalty: {start: 3, max: 1, every: 5, step: 1}}", "max (1) is below start (3)"),
        ("material: {penalty: {start: 1, max: 3, every: 5}}", "give exactly one of factor, step"),
        ("material: {penalty: {strat: 1, max: 3, every: 5, step: 1}}", "did you mean 'start'?"),
    ],
)
def test_parts_that_do_not_fit_together(tmp_path: Path, more: str, fragment: str) -> None:
    data = yaml.safe_load(MBB) | yaml.safe_load(more)
    said = complaints(tmp_path, yaml.safe_dump(data))
    assert any(fragment in s for s in said), said


def test_two_cases_of_one_name(tmp_path: Path) -> None:
    data = yaml.safe_load(MBB)
    data["loads"] *= 2
    (said,) = complaints(tmp_path, yaml.safe_dump(data))
    assert "2 cases are called 'tip'" in said


def test_continuation_values(tmp_path: Path) -> None:
    adding = Continuation(start=1, max=3, every=10, step=0.5)
    assert [adding.at(i) for i in (1, 10, 11, 20, 21, 40, 41, 1000)] == [1, 1, 1.5, 1.5, 2, 2.5, 3, 3]
    times = Continuation(start=1, max=10, every=2, factor=2)
    assert [times.at(i) for i in range(1, 11)] == [1, 1, 2, 2, 4, 4, 8, 8, 10, 10]
    assert times.at(10**9) == 10.0
    assert value_at(3.0, 7) == 3.0
    steep = Continuation(start=1, max=64, every=1, factor=10)
    assert [steep.at(i) for i in (1, 2, 3, 310, 10**6)] == [1, 10, 64, 64, 64]
    uneven = Continuation(start=0.1, max=0.3, every=1, step=0.1)
    assert [uneven.at(i) for i in (2, 3, 4)] == [0.2, 0.3, 0.3]
    short = Continuation(start=1, max=2, every=1, step=1 / 49)
    assert short.at(50) == 2, "the last step is not lost by rounding"


def test_continuation_settles_after_a_full_stage_at_its_end() -> None:
    schedule = Continuation(start=1, max=3, every=10, step=1)
    assert [schedule.at(i) for i in (20, 21)] == [2, 3]
    assert [is_settled(schedule, i) for i in (1, 20, 21, 30, 31)] == [False, False, False, False, True]
    assert is_settled(3.0, 1)


def test_schema_is_json_with_every_key() -> None:
    answer = CliRunner().invoke(app, ["schema"])
    assert answer.exit_code == 0
    schema = json.loads(answer.output)
    assert set(schema["properties"]) == set(Problem.model_fields)
    assert schema["additionalProperties"] is False
    assert "volume_fraction" in schema["$defs"]["VolumeConstraint"]["properties"]
    references = set(re.findall(r'"#/\$defs/(\w+)"', answer.output))
    assert references <= set(schema["$defs"])


def test_shipped_problems_load() -> None:
    files = sorted((Path(__file__).resolve().parents[2] / "problems").glob("*.yaml"))
    assert files
    for file in files:
        assert load_problem(file).name == file.stem


@pytest.mark.parametrize(
    ("region", "written"),
    [
        ("left", "tag 'left'"),
        ({"points": [[400.0, 0.0], [0.1, -2.5]]}, "{points: [[400, 0], [0.1, -2.5]]}"),
        ({"plane": {"axis": "y", "at": 1e-7}}, "{plane: {axis: y, at: 1e-07}}"),
        (
            {"any_of": ["left", {"box": {"min": [0, 0], "max": [1, 2.0]}}]},
            "{any_of: [{tag: left}, {box: {min: [0, 0], max: [1, 2]}}]}",
        ),
    ],
)
def test_regions_are_said_as_they_are_written(region, written):
    assert str(Region.model_validate(region)) == written
