"""The problem file, field by field. Lengths, forces and moduli are unit-free; use consistent units.

Every field has its meaning in its description (`morpho schema` prints them), its default beside it, and its name
from the standard vocabulary of the field.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import AliasChoices, Field, field_validator, model_validator

from morpho.functionals import KINDS
from morpho.problem.acting import (
    AnyProbe,
    Convection,
    Direction,
    LoadCase,
    Material,
    Probe,
    SourcesProbe,
    Spring,
    Support,
    TemperatureProbe,
)
from morpho.problem.base import (
    Continuation,
    Count,
    Number,
    OneOf,
    Positive,
    Schedule,
    Spec,
    Stages,
    Vector,
    Whole,
    is_settled,
    value_at,
)
from morpho.problem.functional_spec import FunctionalSpec, OwnSpec
from morpho.problem.gradient_spec import GradientSpec
from morpho.problem.making import Casting, Overhang, Repeat, Symmetry
from morpho.problem.regions import Axis, Region
from morpho.problem.solving import OptimizerSpec, Output, SolverSpec, Start

NAME_BYTES = 200  #: of a name, which is also that of a folder
MOVE_LIMIT = 0.2
GENTLE = 8.0  #: sharpness of a projection up to which the move limit stands

CAD = (".step", ".stp", ".iges", ".igs", ".brep")  #: files that gmsh fills with tetrahedra

CellName = Literal["triangle", "quadrilateral", "tetrahedron", "hexahedron"]


class BoxMesh(Spec):
    """A box of equal cells; triangles and tetrahedra cut each box cell in 2 and 6."""

    size: Annotated[tuple[Positive, ...], Field(min_length=2, max_length=3, description="edge lengths")]
    cells: Annotated[tuple[Count, ...], Field(min_length=2, max_length=3, description="cells per edge")]
    origin: Vector | None = Field(None, description="lowest corner, default 0")
    cell: CellName | None = Field(None, description="default: quadrilateral in 2-D, hexahedron in 3-D")

    @model_validator(mode="after")
    def _consistent(self) -> BoxMesh:
        dim = len(self.size)
        complaints = []
        if len(self.cells) != dim:
            complaints.append(f"size has {dim} numbers, cells has {len(self.cells)}")
        if self.origin is not None and len(self.origin) != dim:
            complaints.append(f"size has {dim} numbers, origin has {len(self.origin)}")
        flat = {"triangle": 2, "quadrilateral": 2, "tetrahedron": 3, "hexahedron": 3}
        if self.cell is not None and flat[self.cell] != dim:
            complaints.append(f"size has {dim} numbers, but {self.cell} cells are {flat[self.cell]}-dimensional")
        if complaints:
            raise ValueError("; ".join(complaints))
        return self


class Mesh(OneOf):
    """The mesh: a box, a file (STEP, gmsh .msh with named physical groups, Abaqus .inp, .unv, .vtu, ...), or a part
    filled with voxels."""

    box: BoxMesh | None = None
    file: str | None = Field(None, description="path relative to the problem file")
    voxelize: str | None = Field(
        None, description="closed surface (.stl, .obj, .ply, .off, .3mf) or CAD part (STEP, IGES, BREP) to fill"
    )
    spacing: Positive | None = Field(None, description="edge of the voxels")
    size: Positive | None = Field(
        None, description="edge of the tetrahedra that a STEP, IGES or BREP file is filled with"
    )
    refine: Whole = Field(0, ge=0, le=6, description="uniform refinements; each keeps the parent of every cell")

    @classmethod
    def alternatives(cls) -> tuple[str, ...]:
        return ("box", "file", "voxelize")

    @property
    def is_cad(self) -> bool:
        """Whether it is a part that has to be meshed first."""
        return self.file is not None and self.file.lower().endswith(CAD)

    @property
    def dim(self) -> int | None:
        """Dimension, None where only the file knows it."""
        return len(self.box.size) if self.box is not None else 3 if self.voxelize is not None else None

    @model_validator(mode="after")
    def _sized(self) -> Mesh:
        if self.is_cad and self.size is None:
            raise ValueError(f"{self.file} is a CAD part: give size, the edge of the tetrahedra it is filled with")
        if self.size is not None and not self.is_cad:
            cure = "the voxels of voxelize have a spacing" if self.voxelize is not None else "leave it out"
            raise ValueError(f"size is for CAD files ({', '.join(CAD)}) in file; {cure}")
        if (self.voxelize is None) != (self.spacing is None):
            raise ValueError("voxelize and spacing belong together: the surface of a part, and the edge of its voxels")
        return self


class Objective(Spec):
    """What is minimised; a black box gives values only, which is what `gradient.source: guided_es` is for."""

    kind: Literal["compliance", "volume", "displacement", "temperature", "black_box"] = "compliance"
    region: Region | None = Field(
        None, description="of displacement: its mean over these facets, edges or vertices; of temperature: or cells"
    )
    direction: Direction | None = Field(None, description="of displacement: x, y, z, or a vector")
    case: str | None = Field(None, description="of displacement and temperature: load case, where there are several")
    over: Literal["sum", "worst"] = Field(
        "sum", description="of compliance: weighted sum over the load cases, or worst"
    )
    value: str = Field(
        "thresholded",
        description="of a black box: thresholded (compliance of the 0/1 design of equal volume), or file.py:function, "
        "the path relative to the problem file",
    )

    @model_validator(mode="after")
    def _of_a_displacement(self) -> Objective:
        takes = {"displacement": {"region", "direction", "case"}, "temperature": {"region", "case"}}
        others = {"region", "direction", "case"} - takes.get(self.kind, set())
        given = [name for name in ("region", "direction", "case") if name in others and getattr(self, name) is not None]
        if given:
            raise ValueError(f"{self.kind} takes no {' and no '.join(given)}")
        if self.kind != "compliance" and self.over != "sum":
            raise ValueError(f"{self.kind} takes no over")
        if self.kind == "displacement" and (self.region is None or self.direction is None):
            raise ValueError("displacement needs a region and a direction")
        return self

    @property
    def probe(self) -> Probe | TemperatureProbe | None:
        """The displacement or temperature that is minimised, None if it is something else."""
        if self.kind == "temperature":
            return TemperatureProbe(region=self.region, case=self.case)
        if self.region is None or self.direction is None:
            return None
        return Probe(region=self.region, direction=self.direction, case=self.case)

    @field_validator("value")
    @classmethod
    def _named(cls, value: str) -> str:
        if value != "thresholded" and not re.fullmatch(r".+\.py:[^\W\d]\w*", value):
            raise ValueError(f"got {value!r}; expected thresholded, or file.py:function")
        return value

    @property
    def function(self) -> tuple[str, str] | None:
        """File and name of the function that a black box is, None where the value is a compliance."""
        if self.kind != "black_box" or self.value == "thresholded":
            return None
        path, _, name = self.value.rpartition(":")
        return path, name


class VolumeConstraint(Spec):
    """Volume fraction of the design at most `volume_fraction`, everywhere or in a region."""

    kind: Literal["volume"] = "volume"
    volume_fraction: Number = Field(gt=0, le=1, validation_alias=AliasChoices("volume_fraction", "volfrac"))
    region: Region | None = None


class LocalVolumeConstraint(Spec):
    """The share of material around every designed cell at most `max`: porous, like infill (Wu et al. 2018).

    Passive cells count neither as material nor as room.
    """

    kind: Literal["local_volume"]
    radius: Positive = Field(description="of the ball around a cell, a length")
    max: Number = Field(gt=0, lt=1, description="mean density in the ball")
    region: Region | None = Field(None, description="cells around which it holds; default: all")


class ComplianceConstraint(Spec):
    """Compliance at most `max`: of one load case, or the weighted sum of all."""

    kind: Literal["compliance"]
    max: Positive
    case: str | None = None


class Limits(Spec):
    """At most `max`, at least `min`, or between them."""

    max: Number | None = None
    min: Number | None = None

    @model_validator(mode="after")
    def _has_a_limit(self) -> Limits:
        if self.max is None and self.min is None:
            raise ValueError("give max, min or both")
        if 0 in (self.max, self.min):
            raise ValueError("a limit of zero has no size to measure a miss by; give a small number")
        if self.max is not None and self.min is not None and self.min > self.max:
            raise ValueError(f"min is {self.min:g}, above max, {self.max:g}")
        return self


class DisplacementConstraint(Limits, Probe):
    """A displacement at most `max`, at least `min`, or between them."""

    kind: Literal["displacement"]

    @property
    def probe(self) -> Probe:
        """What is limited."""
        return Probe(region=self.region, direction=self.direction, case=self.case)


class TemperatureConstraint(Limits, TemperatureProbe):
    """A mean temperature at most `max`, at least `min`, or between them."""

    kind: Literal["temperature"]

    @property
    def probe(self) -> TemperatureProbe:
        """What is limited."""
        return TemperatureProbe(region=self.region, case=self.case)


_FUNCTIONALS = (*(module.SPEC for module in KINDS.values()), OwnSpec)
if TYPE_CHECKING:
    AnyObjective = Objective | FunctionalSpec
    Constraint = (
        VolumeConstraint
        | ComplianceConstraint
        | DisplacementConstraint
        | TemperatureConstraint
        | LocalVolumeConstraint
        | FunctionalSpec
    )
else:
    AnyObjective = Annotated[Union[(Objective, *_FUNCTIONALS)], Field(discriminator="kind")]
    _LIMITED = (
        VolumeConstraint,
        ComplianceConstraint,
        DisplacementConstraint,
        TemperatureConstraint,
        LocalVolumeConstraint,
    )
    Constraint = Annotated[Union[(*_LIMITED, *_FUNCTIONALS)], Field(discriminator="kind")]


class Filter(Spec):
    """Length scale. The same radius means the same length scale for every kind (Helmholtz: R = radius/(2 sqrt 3))."""

    kind: Literal["cone", "helmholtz", "sensitivity", "none"] = "cone"
    radius: Positive | None = Field(None, description="physical length, not elements")

    @model_validator(mode="after")
    def _needs_radius(self) -> Filter:
        if (self.kind == "none") != (self.radius is None):
            raise ValueError("no filter takes no radius" if self.kind == "none" else f"{self.kind} needs a radius")
        return self


class Projection(Spec):
    """Smoothed Heaviside projection of the filtered density (Wang, Lazarov, Sigmund 2011)."""

    eta: Number = Field(0.5, gt=0, lt=1, description="threshold")
    beta: Schedule = Field(description="sharpness; a number or a continuation")


class Robust(Spec):
    """The design may come out thinner or thicker than drawn; the worst of the three counts (Wang et al. 2011)."""

    eta: Number = Field(
        0.3,
        gt=0,
        lt=0.5,
        description="threshold of the thicker one; that of the thinner one is 1 - eta, of the drawn 0.5",
    )


class Passive(Spec):
    """Regions (cells) that are always solid or always void."""

    solid: tuple[Region, ...] = ()
    void: tuple[Region, ...] = ()


class Design(Spec):
    """The map from the design variable to the physical density."""

    filter: Filter = Field(default_factory=lambda: Filter(kind="none"))
    projection: Projection | None = None
    robust: Robust | None = Field(None, description="needs a projection with eta 0.5; sets a least length")
    passive: Passive = Passive()
    symmetry: tuple[Symmetry, ...] = Field((), description="planes that the design is symmetric about")
    repeat: Repeat | None = Field(None, description="the design is made of equal pieces")
    extrude: Axis | None = Field(None, description="the design is the same in every section across this axis")
    casting: Casting | None = Field(None, description="the design can be drawn out of its mould")
    overhang: Overhang | None = Field(None, description="the design can be printed without supports")
    initial: Number | None = Field(
        None, gt=0, le=1, description="initial density of the designed cells; default: meets the volume"
    )
    perturbation: Number = Field(0.0, ge=0, le=1, description="relative random change of the initial density, per cell")
    seed: Whole = Field(0, ge=0, description="of the perturbation")

    @property
    def is_shaped(self) -> bool:
        """Whether a rule follows the projection, so that rho is no pointwise function of the filtered density."""
        return self.casting is not None or self.overhang is not None


class Problem(Spec):
    """A whole topology optimization problem, frozen."""

    name: str = Field("problem", description="also that of the run folder: letters, digits, _ - .")
    physics: Literal["elasticity", "heat"] = Field("elasticity", description="small displacements, or heat conduction")
    mesh: Mesh
    engine: Literal["auto", "voxel", "assembled"] = Field(
        "auto", description="state equation: matrix-free on boxes of equal cells, or an assembled matrix on any mesh"
    )
    material: Material = Material()
    supports: tuple[Support, ...] = Field(description="may be empty where convection takes the heat away")
    springs: tuple[Spring, ...] = ()
    convection: tuple[Convection, ...] = Field((), description="physics: heat")
    loads: Annotated[tuple[LoadCase, ...], Field(min_length=1)] = (LoadCase(),)
    objective: AnyObjective = Objective()
    constraints: Annotated[tuple[Constraint, ...], Field(min_length=1)]
    design: Design = Design()
    start: Start | None = Field(None, description="default: a uniform design")
    gradient: GradientSpec = GradientSpec()
    optimizer: OptimizerSpec = OptimizerSpec()
    solver: SolverSpec = SolverSpec()
    output: Output = Output()

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if not re.fullmatch(r"\w[\w.-]*", value) or len(value) > 100 or len(value.encode()) > NAME_BYTES:
            raise ValueError(
                f"got {value[:100]!r}; a name has letters, digits, _, - and . only, at most 100 of them, begins with "
                "a letter, a digit or _, and is no path (the folder is chosen with --output)"
            )
        return value

    @property
    def probes(self) -> tuple[AnyProbe, ...]:
        """The displacements and temperatures in the objective and the constraints, each once."""
        limited = [c.probe for c in self.constraints if isinstance(c, DisplacementConstraint | TemperatureConstraint)]
        sought = [self.objective.probe] if self.objective.probe else []
        return tuple(dict.fromkeys([*sought, *limited, *self._works]))

    @property
    def functionals(self) -> tuple[FunctionalSpec, ...]:
        """The responses in the objective and the constraints that are not linear in the state, each once."""
        given = [part.unlimited for part in (self.objective, *self.constraints) if isinstance(part, FunctionalSpec)]
        return tuple(part for i, part in enumerate(given) if part not in given[:i])

    @property
    def _works(self) -> list[SourcesProbe]:
        """The thermal compliances in the objective and the constraints that are not self-adjoint."""
        limited = [c.case for c in self.constraints if isinstance(c, ComplianceConstraint)]
        if not self.warmed or (self.objective.kind != "compliance" and not limited):
            return []
        everything = self.objective.kind == "compliance" or None in limited
        cases = [case for case in self.loads if everything or case.name in limited]
        return [self.work_of(case) for case in cases]

    @property
    def warmed(self) -> bool:
        """Whether temperatures other than zero are held, or lie around."""
        return self.physics == "heat" and any(
            [*(support.moves for support in self.supports), *(part.ambient for part in self.convection)]
        )

    def work_of(self, case: LoadCase) -> SourcesProbe:
        """The probe of the thermal compliance of a load case."""
        return SourcesProbe(sources=case.sources, case=case.name)

    def case_of(self, probe: AnyProbe | FunctionalSpec) -> int:
        """Number of the load case of a displacement, a temperature or a functional."""
        return 0 if probe.case is None else [case.name for case in self.loads].index(probe.case)

    @property
    def weighs(self) -> bool:
        """Whether a load grows with the density, so that material may make the design worse."""
        return any(any(force.self_weight or ()) for case in self.loads for force in case.forces)

    @property
    def update(self) -> Literal["oc", "mma", "simpl"]:
        """The design update in force."""
        if self.optimizer.kind != "auto":
            return self.optimizer.kind
        one_volume = [constraint.kind for constraint in self.constraints] == ["volume"]
        plain = isinstance(self.objective, Objective) and self.objective.over == "sum"
        falls = self.objective.kind in ("compliance", "black_box") and not self.objective.function
        return "oc" if one_volume and plain and falls and not self.weighs and not self.warmed else "mma"

    def _staged(self, name: str, given: float | Continuation) -> float | Continuation | Stages:
        """A continuation parameter: of the stages where these have it, else as it is given."""
        stages = self.optimizer.stages
        said: list[float | None] = [getattr(stage, name) for stage in stages]
        if isinstance(given, Continuation) or not any(said):
            return given
        values, value = [], given
        for changed in said:
            value = changed or value
            values.append(value)
        return Stages(tuple(stage.until or 0 for stage in stages[:-1]), tuple(values))

    @property
    def penalty(self) -> float | Continuation | Stages:
        """Of the interpolation."""
        return self._staged("penalty", self.material.penalty)

    @property
    def beta(self) -> float | Continuation | Stages | None:
        """Sharpness of the projection, None without one."""
        return None if self.design.projection is None else self._staged("beta", self.design.projection.beta)

    @property
    def radius(self) -> float | Continuation | Stages | None:
        """Of the filter, None without one."""
        radius = self.design.filter.radius
        return None if radius is None else self._staged("radius", radius)

    @property
    def radii(self) -> dict[str, float]:
        """Every radius that the filter takes, by its place in the problem file."""
        stages, given = self.optimizer.stages, self.design.filter.radius
        found = {f"optimizer.stages[{i}].radius": stage.radius for i, stage in enumerate(stages)}
        if not stages or stages[0].radius is None:
            found["design.filter.radius"] = given
        return {place: radius for place, radius in found.items() if radius is not None and given is not None}

    @property
    def continued(self) -> dict[str, float | Continuation | Stages]:
        """Everything that may change from iteration to iteration and makes another problem of it."""
        staged = self.radius if isinstance(self.radius, Stages) else None
        every = {"penalty": self.penalty, "beta": self.beta, "radius": staged}
        return {name: schedule for name, schedule in every.items() if schedule is not None}

    def settled(self, iteration: int) -> bool:
        """Whether every continuation has come to its end, and the last stage has begun."""
        before = [stage.until or 0 for stage in self.optimizer.stages[:-1]]
        return iteration > max(before, default=0) and all(is_settled(s, iteration) for s in self.continued.values())

    def move_limit(self, iteration: int) -> float:
        """Largest change of a design variable in a design iteration.

        Where none is given it follows the sharpness of the projection: one step may not turn a cell over.
        """
        steepest = 1.0 if self.beta is None else value_at(self.beta, iteration)
        usual = self.optimizer.move_limit or min(MOVE_LIMIT, MOVE_LIMIT * GENTLE / steepest)
        return value_at(self._staged("move_limit", usual), iteration)

    @model_validator(mode="before")
    @classmethod
    def _default_kinds(cls, data: Any) -> Any:
        """A constraint without kind is a volume constraint, an objective the compliance."""
        if not isinstance(data, dict):
            return data
        filled = {}
        if isinstance(data.get("constraints"), list | tuple):
            filled["constraints"] = [{"kind": "volume"} | c if isinstance(c, dict) else c for c in data["constraints"]]
        if isinstance(data.get("objective"), dict):
            filled["objective"] = {"kind": "compliance"} | data["objective"]
        return data | filled
