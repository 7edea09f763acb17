"""Problem files as people and strangers write them: each is refused in words that help, before anything happens."""

import importlib.util
import os
from pathlib import Path

from mpi4py import MPI

import pytest
from running import MBB, ROOT, run, settings, write_mbb

import morpho
from morpho.describe import describe, displacement_slips, without_code
from morpho.errors import InputError
from morpho.memory import available
from morpho.memory import complaints as memory_complaints
from morpho.parts import Parts
from morpho.problem import dump_problem, load_problem
from morpho.problem.gradient_spec import SOURCES
from morpho.problem.numbers import plain_value, why_no_number


def refused(folder: Path, text: str | bytes, *overrides: str) -> list[str]:
    """What is wrong with a text, without the folder."""
    path = folder / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        load_problem(path, overrides)
    return [line.replace(f"{folder}/", "") for line in caught.value.complaints]


NUMBERS = {
    "1": 1,
    "-12": -12,
    "+3": 3,
    "1e5": 100000,
    "1E-3": 1e-3,
    "1.": 1,
    ".5": 0.5,
    "-.5e1": -5,
    "1.0e+5": 100000,
    "0.25": 0.25,
    "true": True,
    "False": False,
    "~": None,
    "": None,
    "NULL": None,
}


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_as_yaml_1_2_reads_them(text: str) -> None:
    value = plain_value(text)
    assert value == NUMBERS[text] and type(value) is type(NUMBERS[text])


#: what stays text, and what to say of it where a number is expected
ODD = {
    "012": "write 12, or 10 if it was meant as octal",
    "-007": "write -7",
    "1:30": "no colon",
    "190:20:30.15": "no colon",
    "210,000": "no thousands separator; write 210000",
    "1,234,567.5": "write 1234567.5",
    "1_000": "no thousands separator; write 1000",
    "1_0": "write 10",
    "0,5": "write 0.5",
    "0x10": "write it in decimal: 16",
    "0o14": "write it in decimal: 12",
    "0b11": "write it in decimal: 3",
    "210 GPa": "no units here; write 210 alone",
    "2.1e5 N/mm²": "no units here; write 2.1e5 alone",
    "50 %": "write 0.5 for 50 %",
    "50%": "write 0.5",
    "1/3": "write it in decimal: 0.3333333333",
    "2*3": "does not calculate",
    "2024-01-31": "a date",
    "yes": "a number is expected",
    "nan": "finite number",
    "1e400": "too large",
    "9" * 1000: "a number of 1000 characters",
    "١٢": "a number is expected",
}


@pytest.mark.parametrize("text", ODD, ids=lambda text: text[:12])
def test_what_only_looks_like_a_number(text: str, tmp_path: Path) -> None:
    assert plain_value(text) == text
    assert ODD[text] in why_no_number(text)
    (said,) = refused(tmp_path, MBB + f"material:\n  E: {text}\n")
    assert said.startswith("file.yaml:13: material.E: got ") and ODD[text] in said and len(said) < 300


def test_numbers_in_quotes_and_truth_values_are_no_numbers(tmp_path: Path) -> None:
    text = MBB + "material: {E: '3', nu: true, penalty: \"3\"}\noptimizer: {max_iterations: '5', window: false}\n"
    said = "\n".join(refused(tmp_path, text.replace("[12, 4]}}", "['12', 4]}}")))
    assert said.count("leave out the quotes") == 4
    assert said.count("got true; a number is expected") == said.count("got false; a number is expected") == 1


def test_a_thousands_separator_in_a_flow_mapping(tmp_path: Path) -> None:
    (said,) = refused(tmp_path, MBB + "material: {E: 210,000, nu: 0.3}\n")
    assert said.startswith("file.yaml:12: material.000: unknown key") and "no thousands separator" in said


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("size: [12, 4]", "size: [12, 1e-300]", "mesh.box.size[1]: got 1e-300; its magnitude"),
        ("size: [12, 4]", "size: [12, 1e-8]", "cells of 1 x 2.5e-09 in a box with a diagonal of 12"),
        ("cells: [12, 4]", "cells: [12, 4], origin: [1e12, 0]", "mesh.box.origin: got [1000000000000.0, 0.0], so far"),
        ("cells: [12, 4]", "cells: [1e30, 4]", "mesh.box.cells[0]: got 1e+30"),
        ("radius: 1.5", "radius: 1e300", "design.filter.radius: got 1e+300; its magnitude"),
        ("volume_fraction: 0.5", "volume_fraction: 1e-40", "next to nothing of 48 cells"),
        ("volume_fraction: 0.5", "volume_fraction: 40", "write 0.4 for 40 %"),
        ("total: [0, -1]", "total: [0, -1e200]", "got -1e+200; its magnitude"),
    ],
)
def test_numbers_beyond_sense(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    assert any(said in line for line in refused(tmp_path, MBB.replace(right, wrong)))


def test_more_cells_than_there_is_memory_for(tmp_path: Path) -> None:
    (tmp_path / "huge.yaml").write_text(
        MBB.replace("cells: [12, 4]", "cells: [2000000, 2000000]").replace("12, 4", "4, 4")
    )
    problem = load_problem(tmp_path / "huge.yaml")
    with pytest.raises(InputError, match=r"4,000,000,000,000 cells take about \d+.* GB of memory, there are "):
        Parts(problem, MPI.COMM_SELF)
    assert available(MPI.COMM_SELF) > 1e8
    assert memory_complaints(load_problem(write_mbb(tmp_path)), MPI.COMM_SELF) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mesh:\n\tbox: 1\n", ":2: is not YAML: a tab indents this line; use spaces"),
        ("mesh:\n  box:\n    size: [2, 1]\n   cells: [2, 1]\n", ":4: is not YAML: this line is indented by 3 spaces"),
        ("mesh: {box: 1}\n  refine: 1\n", ":2: is not YAML: this line is indented deeper than line 1"),
        ("loads:\n  - name: tip\n  forces: []\n", ":3: is not YAML: this line starts in the column of the list"),
        ("mesh: {box: {size: [1, 2}\n", ":1: is not YAML: the [ ] that starts in line 1 is not closed"),
        ("name: a: b\n", ":1: is not YAML: a second colon in one line"),
        ("name: 'a\n", "the quotes that open in line 1 are not closed"),
        ("name: @a\n", "a text that starts with @ has to stand in quotes"),
        ("mesh\nloads: 1\n", "is not YAML"),
        ("a: *b\n", "found undefined alias"),
        ("a: \x00\n", ":1: is not YAML: the character '\\x00' cannot be shown"),
        ("a: 1\nb: \x1b[0m\n", ":2: is not YAML: the character '\\x1b'"),
        ("a: 1\n".encode("utf-16"), ": is UTF-16 text; save it as UTF-8"),
        ("# größer\nname: 1".encode("latin-1"), ":1: is not a text file in UTF-8"),
        ("? [1, 2]\n: 3\n", ":1: a list stands where a key is expected"),
        ("? \n: 5\n", "a key is expected before the colon"),
        ("a: &a [*a]\n", "*a stands inside of what it repeats"),
        ("a: " + "[" * 3000, "more than 50 lists and mappings lie in each other"),
        ("a:\n" + "".join(f"{' ' * i}- \n" for i in range(1, 300)), "more than 50 lists"),
        ("a: [" + "1, " * 300_000 + "]\n", "more than 200,000 values"),
        ("#" * 4_000_001, "more than 4 MB"),
    ],
    ids=lambda value: repr(value[:25]),
)
def test_yaml_that_cannot_be_read(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert said in refused(tmp_path, text)[0]


def test_aliases_of_aliases(tmp_path: Path) -> None:
    bomb = "x0: &x0 [1]\n" + "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 30))
    assert "more than 200,000 values" in refused(tmp_path, bomb)[0]
    chain = "x0: &x0 [1]\n" + "".join(f"x{i}: &x{i} [*x{i - 1}]\n" for i in range(1, 200))
    assert "more than 50 lists" in refused(tmp_path, chain)[0]


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system [ls]", "!!bool maybe", "!!binary aGk=", "!!set {a}", "!!omap [a: 1]", "!mine 3"],
)
def test_tags_mean_nothing(tmp_path: Path, tag: str) -> None:
    said = refused(tmp_path, MBB + f"material: {{E: {tag}}}\n")
    assert "file.yaml:12: the tag '" in said[0] and "leave it out" in said[0]


def test_anchors_merges_bom_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    text = MBB.replace("{plane: {axis: x, at: 0}}, fix: x}", "&left {plane: {axis: x, at: 0}}, fix: x}")
    text += "output: {<<: &often {every: 5}, first: 2}\n"
    text = text.replace("filter: {kind", "passive: {solid: []}\n  filter: {kind")
    (tmp_path / "file.yaml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    problem = load_problem(tmp_path / "file.yaml")
    assert (problem.output.every, problem.output.first) == (5, 2)


@pytest.mark.parametrize(
    ("name", "right"),
    [(name, True) for name in ("beam", "my.beam-2", "1e5", "012", "Träger")]
    + [(name, False) for name in ("..", ".", ".hidden", "-x", "a/b", "/tmp/x", "a b", "x" * 101, "ä" * 101, "''")],
)
def test_names_are_no_paths(tmp_path: Path, name: str, right: bool) -> None:
    text = MBB + f"name: '{name}'\n" if name != "''" else MBB + "name: ''\n"
    if right:
        (tmp_path / "file.yaml").write_text(text)
        problem = load_problem(tmp_path / "file.yaml")
        assert problem.name == name
        (tmp_path / "again.yaml").write_text(dump_problem(problem))
        assert load_problem(tmp_path / "again.yaml") == problem
    else:
        (said,) = refused(tmp_path, text)
        assert "name: got " in said and "is no path" in said


@pytest.mark.parametrize("name", [".hidden.yaml", "-x.yaml", "x" * 240 + ".yaml", "...yaml", "é" * 120 + ".yaml"])
def test_odd_file_names_still_name_a_folder(tmp_path: Path, name: str) -> None:
    assert 0 < len(load_problem(write_mbb(tmp_path, name=name)).name.encode()) <= 100


WORDS = {
    ("fix: x}", "fix: xy}"): "supports[0].fix: got 'xy'; write [x, y]",
    ("fix: x}", "fix: []}"): "supports[0].fix: got []; expected all, x, y, z",
    ("fix: x}", "fix: [1, 1]}"): "expected all, x, y, z, or a list such as [x, y]",
    ("fix: x}", "fix: [x, x]}"): "name every component once",
    ("fix: x}", "fix: }"): "supports[0].fix: is empty; expected all, x, y, z",
    ("fix: x}", "spring: 3}"): "supports[0].spring: unknown key; springs stand beside `supports`",
    ("total: [0, -1]", "momnet: 5"): "loads[0].forces[0].momnet: unknown key; did you mean 'moment'",
    ("total: [0, -1]", "total: "): "give exactly one of total, traction",
    ("{plane: {axis: x, at: 0}}", ""): "supports[0].region: is empty; ",
    (
        "design:",
        "design:\n  minimum_size: 2",
    ): "design.minimum_size: unknown key; the length scale is set by design.filter",
    ("design:", "design:\n  symmetry: x"): "design.symmetry: got 'x'; expected a list",
    ("design:", "design:\n  mirror: x"): "design.mirror: unknown key; a symmetric design is `design.symmetry",
    ("design:", "design:\n  overhang: 45"): "design.overhang: got 45; expected keys such as angle, direction",
    ("design:", "design:\n  print_direction: z"): "design.print_direction: unknown key; what can be printed without",
    ("design:", "physics: fluid\ndesign:"): "physics: got 'fluid'; expected 'elasticity', 'heat'",
    ("design:", "material_heat: 1\ndesign:"): "heat conduction is `physics: heat`",
    ("design:", "float: 2\ndesign:"): "float: unknown key; expected one of",
    ("design:", "'a[b': 2\ndesign:"): "a[b: unknown key; expected one of",
    ("design:", "0: 2\ndesign:"): "0: unknown key",
    ("design:", "objective: {kind: mass}\ndesign:"): "objective.kind: got 'mass'; expected 'compliance', 'volume'",
    ("design:", "objective: {kind: mechanism}\ndesign:"): "a mechanism is `objective: {kind: displacement",
    (
        "design:",
        "optimizer: {kind: OC}\ndesign:",
    ): "optimizer.kind: got 'OC'; expected 'auto', 'oc', 'mma', 'simpl'; did you mean 'oc'?",
    ("design:", "optimizer:\ndesign:"): "optimizer: is empty; expected keys such as kind, levels",
    ("design:", "optimizer: 3\ndesign:"): "optimizer: got 3; expected keys such as kind",
    ("design:", "optimizer: [3]\ndesign:"): "optimizer: got [3]; expected keys such as kind",
    (
        "volume_fraction: 0.5",
        "kind: fatigue, max: 1",
    ): "morpho has no fatigue; limit the stress (kind: stress)",
    ("volume_fraction: 0.5", "kind: buckling"): "without buckling or damping",
    ("radius: 1.5", "radius:1.5"): "unknown key; a space is missing after the colon",
    ("volume_fraction: 0.5", "volume_fraction: 0.5, volfrac: 0.4"): "the same as volume_fraction",
    ("name: tip", "name: a/b"): "loads[0].name: got 'a/b'; a name has letters",
    ("  filter: {kind", "\xa0\xa0filter: {kind"): "non-breaking space",
    ("design:", "solver: {petsc_options: 3}\ndesign:"): "solver.petsc_options: got 3; expected a mapping",
    (
        "design:",
        "solver: {petsc_options: {ksp_type: {a: 1}}}\ndesign:",
    ): "petsc_options.ksp_type: got {'a': 1}; ",
    ("size: [12, 4]", "size: [12]"): "mesh.box.size: got 1 values; expected at least 2",
    ("size: [12, 4]", "size: 12"): "mesh.box.size: got 12; expected a list",
    ("size: [12, 4]", "size: "): "mesh.box.size: is empty; expected a list",
}


@pytest.mark.parametrize(("right", "wrong"), WORDS, ids=lambda text: text[:24])
def test_words(tmp_path: Path, right: str, wrong: str) -> None:
    said = refused(tmp_path, MBB.replace(right, wrong, 1))
    assert len(said) <= 2, said
    assert WORDS[right, wrong] in "\n".join(said)


def test_a_key_that_is_not_indented_enough(tmp_path: Path) -> None:
    text = MBB.replace("  - {region: {plane: {axis: x, at: 0}}, fix: x}", "  - region:\n    plane: {axis: x, at: 0}")
    said = refused(tmp_path, text)
    assert any("supports[0].plane: unknown key; indent it deeper than 'region'" in line for line in said)


def test_an_unknown_source_is_said_with_everything_else(tmp_path: Path) -> None:
    said = refused(tmp_path, MBB + "gradient: {source: exakt}\nmaterial: {E: -1}\n")
    assert len(said) == 2
    assert said[1] == "file.yaml:12: gradient.source: there is no source 'exakt'; did you mean 'exact'?"
    from morpho.gradients import registry

    assert SOURCES[: len(registry.BUILT_IN)] == list(registry.BUILT_IN)


def test_thousands_of_complaints_are_not_all_said(tmp_path: Path) -> None:
    said = refused(tmp_path, MBB.replace("points: [[12, 0]]", "points: [" + "[a, b], " * 1000 + "]"))
    assert len(said) == 41 and said[-1].startswith("and ")
    said = refused(tmp_path, "".join(f"k{i}: {i}\n" for i in range(50_000)))
    assert len(said) == 41 and "k0: unknown key" in said[3] and said[-1] == "and 49963 more"


def test_mesh_files_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.msh")
    (tmp_path / "empty.msh").touch()
    (tmp_path / "loop.msh").symlink_to("loop.msh")
    with open(tmp_path / "sparse.msh", "wb") as file:
        file.truncate(2**42)
    for name, why in {
        "pipe.msh": "is no regular file",
        "/dev/zero": "is no regular file",
        "empty.msh": "is empty",
        "loop.msh": "cannot be read",
        "sparse.msh": "more than the memory",
        "x" * 300: "cannot be read",
        '"a\\0b.msh"': "cannot be shown",
        ".": "is no regular file",
    }.items():
        said = refused(tmp_path, MBB.replace("{box: {size: [12, 4], cells: [12, 4]}}", f"{{file: {name}}}"))
        assert why in said[0], said
    with pytest.raises(InputError, match="is no regular file"):
        load_problem(tmp_path / "pipe.msh")


DANGEROUS = {
    "pc_type": "python",
    "pc_python_type": "evil.py:PC",
    "sub_pc_type": "shell",
    "mg_levels_1_pc_type": "python",
    "fieldsplit_0_pc_python_type": "evil.py:PC",
    "ksp_view": "ascii:victim.txt",
    "ksp_monitor": "ascii:victim.txt",
    "ksp_converged_reason": ":victim.txt",
    "mg_levels_ksp_view_mat": "binary:victim",
    "mat_mumps_ooc_tmpdir": "/tmp",
    "mat_mumps_icntl_22": 1,
    "options_file": "victim.txt",
    "help": None,
    "pc_hypre_boomeramg_print_debug": 1,
    "pc_factor_mat_solver_type": "/lib/evil.so",
    "pc_gamg_type": "../evil",
    "ksp_rtol": "1e-3 -options_file x",
    "log_view": ":victim.txt",
}
USEFUL = {
    "ksp_type": "fcg",
    "ksp_rtol": 1e-6,
    "ksp_monitor": None,
    "pc_type": "gamg",
    "pc_gamg_threshold": "0.01,0.02",
    "mg_levels_ksp_type": "chebyshev",
    "mg_levels_ksp_chebyshev_esteig": "0,0.05,0,1.1",
    "mg_coarse_sub_pc_type": "lu",
    "pc_hypre_boomeramg_coarsen_type": "HMIS",
    "pc_hypre_boomeramg_interp_type": "ext+i",
    "pc_hypre_boomeramg_relax_type_all": "symmetric-SOR/Jacobi",
    "mat_mumps_icntl_14": 80,
    "-elasticity_mat_mumps_cntl_1": 0.01,
    "fieldsplit_0_sub_pc_type": "ilu",
}


def test_petsc_options_of_a_file_touch_nothing(tmp_path: Path) -> None:
    options = ", ".join(f"{name}: {'null' if value is None else repr(value)}" for name, value in DANGEROUS.items())
    said = refused(tmp_path, MBB + f"solver: {{petsc_options: {{{options}}}}}\n")
    assert [line.split(": ")[1].rpartition(".")[2] for line in said] == list(DANGEROUS)
    assert all("the command line takes it, -elasticity_" in line for line in said)
    options = ", ".join(f"{name}: {'null' if value is None else repr(value)}" for name, value in USEFUL.items())
    load_problem(write_mbb(tmp_path, f"solver: {{petsc_options: {{{options}}}}}"))


BLACK_BOX = (
    "engine: assembled",
    "objective: {kind: black_box, value: own.py:f}",
    "gradient: {source: guided_es, guided_es: {pairs: 1}}",
    "optimizer: {max_iterations: 1}",
)
OWN = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n\n\ndef f(rho, physics):\n    return 1.0\n"


def test_own_code_runs_only_where_it_is_allowed(tmp_path: Path) -> None:
    (tmp_path / ".petscrc").write_text("-elasticity_ksp_view ascii:victim.txt\n")
    (tmp_path / "own.py").write_text(OWN)
    file, folder, ran = write_mbb(tmp_path, *BLACK_BOX), tmp_path / "run", tmp_path / "ran"
    file.write_text(file.read_text().replace("cells: [12, 4]}}", "cells: [6, 2]}, refine: 1}"))
    with pytest.raises(InputError, match=r"mbb.yaml:\d+: objective.value: the file names code to run, f in own.py"):
        load_problem(file)
    problem = load_problem(file, allow_code=True)
    with Parts(without_code(problem), MPI.COMM_SELF) as parts:
        assert f"objective: black box, f in {tmp_path}/own.py, which runs with --allow-code only" in describe(
            parts, problem
        )
    checked = run(1, "check", file, cwd=tmp_path)
    assert checked.returncode == 0 and "which runs with --allow-code only" in checked.stdout
    assert not ran.exists()
    solved = run(1, "solve", file, "--output", folder, "--allow-code", cwd=tmp_path)
    assert solved.returncode == 0 and ran.exists(), solved.stderr
    ran.unlink()
    resumed = run(1, "resume", folder, *settings("optimizer.max_iterations=2"), cwd=tmp_path)
    assert resumed.returncode == 2 and "allow it with --allow-code" in resumed.stderr
    assert not ran.exists()
    assert not (tmp_path / "victim.txt").exists()


def test_check_says_what_it_understood(tmp_path: Path) -> None:
    more = (
        "material: {E: 210000, penalty: {start: 1, max: 3, every: 10, step: 0.5}, E_min_ratio: 1e-14}",
        "optimizer: {kind: mma}",
        "objective: {kind: volume}",
    )
    text = MBB.replace(
        "  - {volume_fraction: 0.5}", "  - {kind: compliance, max: 9, case: tip}\n  - {volume_fraction: 0.7}"
    )
    text = text.replace(
        "radius: 1.5}", "radius: 0.5}\n  projection: {eta: 0.4, beta: {start: 1, max: 8, every: 5, factor: 2}}"
    )
    (tmp_path / "file.yaml").write_text(text + "\n".join(more))
    with Parts(load_problem(tmp_path / "file.yaml"), MPI.COMM_SELF) as parts:
        lines = describe(parts)
    for line in (
        "bounds: (0, 0) to (12, 4), area 48",
        "material: E 210000, nu 0.3, plane stress, simp with penalty from 1 to 3, plus 0.5 every 10 iterations, "
        "void 1e-14 of E",
        "objective: least volume",
        "constraints[0]: compliance of case tip at most 9",
        "constraints[1]: volume fraction at most 0.7",
        "projection: eta 0.4, beta from 1 to 8, times 2 every 5 iterations",
    ):
        assert line in lines
    assert any(line.startswith("memory: about 0.3 GB expected, ") for line in lines)
    warned = [line for line in lines if line.startswith("warning: ")]
    assert len(warned) == 2
    assert "radius 0.5 is less than one element" in warned[0] and "E_min_ratio 1e-14 is below" in warned[1]


def test_check_lists_the_groups_of_a_mesh(tmp_path: Path) -> None:
    plate = ROOT / "tests" / "problem" / "broken" / "plate.msh"
    text = f"mesh: {{file: {plate}}}\nsupports: [{{region: left}}]\n"
    text += "loads: [{forces: [{region: right, total: [0, -1]}]}]\n"
    (tmp_path / "file.yaml").write_text(text + "constraints: [{volume_fraction: 0.5}]\n")
    with Parts(load_problem(tmp_path / "file.yaml"), MPI.COMM_SELF) as parts:
        lines = describe(parts)
    assert [line.split()[1] for line in lines if line.startswith("group ")] == ["left:", "plate:", "right:"]
    assert "filter: none" in lines and any("warning: there is no filter" in line for line in lines)


@pytest.mark.parametrize(
    ("E", "force", "slip"),
    [(1, -1, None), (1, -1000, "while displacements are taken as small"), (2e4, -1, None), (1e12, -1, "very little")],
)
def test_units_that_do_not_go_together(tmp_path: Path, E: float, force: float, slip: str | None) -> None:
    settings = [f"material.E={E}", f"loads[0].forces[0].total=[0,{force}]", "optimizer.max_iterations=1"]
    problem = load_problem(write_mbb(tmp_path), settings)
    with Parts(problem, MPI.COMM_SELF) as parts:
        parts.enter_iteration(1)
        parts.source.estimate(parts.design.at(1).apply(parts.start().x)[0])
        said = displacement_slips(parts)
    assert (said == []) if slip is None else (len(said) == 1 and slip in said[0])


def test_blocks_where_the_voxel_engine_is_not_in_use(tmp_path: Path) -> None:
    problem = load_problem(write_mbb(tmp_path, "engine: assembled", "gradient: {source: secant}"))
    with pytest.raises(InputError, match=r"let the voxel engine solve.*\(here: engine is assembled"):
        morpho.solve(problem, comm=MPI.COMM_SELF)


def test_files_as_nobody_would_write_them(tmp_path: Path) -> None:
    place = importlib.util.spec_from_file_location("fuzz", ROOT / "scripts" / "fuzz.py")
    assert place is not None and place.loader is not None
    fuzz = importlib.util.module_from_spec(place)
    place.loader.exec_module(fuzz)
    (tmp_path / "plate.msh").write_bytes(fuzz.PLATE.read_bytes())
    outcomes = []
    for seed in range(250):
        problem = fuzz.load(seed, tmp_path)
        if problem is not None and len(outcomes) < 15:
            outcomes.append(fuzz.set_up(problem))
    assert outcomes.count("set up") > 10
