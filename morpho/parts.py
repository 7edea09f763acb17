"""Everything a run is made of, built once from a Problem."""

from __future__ import annotations

import gc
from contextlib import ExitStack
from dataclasses import fields, replace
from functools import cached_property
from typing import Any

from mpi4py import MPI

import numpy as np

from morpho import gradients, memory
from morpho.design.build import Design
from morpho.fem import engine
from morpho.fem.assembled import AssembledEquation
from morpho.fem.material import make_material
from morpho.fem.voxel.equation import VoxelEquation
from morpho.functionals.functional import Evolving
from morpho.gradients import Supervisor, Tools, registry
from morpho.gradients.decoupling import Solver
from morpho.interfaces import Array, Gradient, GradientSource
from morpho.machine import share_out_freed_memory
from morpho.mesh import Mesh, VoxelMesh, build_mesh, voxel_mesh, voxelized
from morpho.mesh.fingerprint import fingerprint
from morpho.optimizers import MMA, OC, SiMPL
from morpho.parallel import failing_alike, raise_together
from morpho.problem.base import value_at
from morpho.problem.check import check_consistency, check_dimension
from morpho.problem.spec import Problem
from morpho.responses import Responses
from morpho.sensing import make_functionals
from morpho.step import Restart

UPDATES = {"oc": OC, "mma": MMA, "simpl": SiMPL}
LIMITED_LAST = 10  #: exact gradients at the end where displacements have a limit: an estimated one is soon beyond it


class Parts:
    """Mesh, state equation, design map, responses, gradient source and optimizer of a problem.

    A context manager: PETSc objects are freed on leaving, on all ranks together, and Python's garbage collector,
    which would free them in a different order on every rank, rests meanwhile.

    Raises:
        InputError: what only the mesh can tell is wrong with the problem; all of it at once.
    """

    def __init__(self, problem: Problem, comm: MPI.Comm, solvers: Solver[Any, Gradient] | None = None) -> None:
        """Build them (collective); `solvers` are ranks beside these that only solve."""
        self.problem, self.comm = problem, comm
        raise_together(comm, complaints(problem))
        raise_together(comm, memory.complaints(problem, comm))
        with ExitStack() as opened, failing_alike(comm):
            rest_collector(opened, comm)
            self.mesh, self.physics = _state_equation(problem, comm)
            share_out_freed_memory()
            opened.push(self.physics)
            self.design = opened.enter_context(Design(self.mesh, problem))
            self.responses = Responses(self.mesh, problem, self.design.local_mean)
            said = self.physics.complaints + self.design.complaints + self.responses.complaints
            raise_together(comm, said)
            raise_together(comm, self.physics.cut_off(self.design.passive.void))
            self.functionals = make_functionals(problem, self.mesh, self.physics.law)
            self.physics.sense(self.functionals)
            self.physics.prepare()
            self._iteration = 1
            self._replicas: list[AssembledEquation | VoxelEquation] = []
            self._replicas_opened = opened.enter_context(ExitStack())
            self.supervisor = self._supervised(solvers)
            self._opened = opened.pop_all()
        self.optimizer: OC | MMA | SiMPL = UPDATES[problem.update](comm, move_limit=problem.move_limit(1))

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What tells the mesh from others (first use is collective)."""
        return fingerprint(self.problem.mesh, self.mesh)

    @property
    def source(self) -> GradientSource:
        """The gradient source of the problem."""
        return self.supervisor.source

    def _supervised(self, solvers: Solver[Any, Gradient] | None) -> Supervisor:
        """The source with what the supervisor needs beside it (collective)."""
        problem, name, spec = self.problem, self.problem.gradient.source, self.problem.gradient
        if _moving(problem) or problem.probes:  # a residual says little where supports move, or of a small output
            spec = spec.model_copy(update={"correction_rtol": None})
        tools = Tools(self.physics, spec, self._replica, problem.objective, solvers)
        source = gradients.create(name, self.physics, tools)
        rival, two_scale = None, None
        if registry.uses_blocks(name):
            two_scale = tools.two_scale
            rival = gradients.create("secant", self.physics, tools) if registry.source_class(name).card.rival else None
        limited = any(bound.response.of_state for bound in self.responses.bounds)
        return Supervisor(
            self.physics,
            source,
            spec,
            problem.optimizer,
            rival,
            two_scale,
            measure=self.responses.measure,
            paced=self.design.is_curved or problem.objective.kind == "volume",
            last=LIMITED_LAST if limited else 1,
        )

    def _replica(self, comm: MPI.Comm) -> AssembledEquation | VoxelEquation:
        """The same state equation on other ranks; its penalty follows (collective).

        It and the communicator are freed with the parts.
        """
        self._replicas_opened.callback(comm.Free)
        replica = make_replica(self.problem, comm)
        self._replicas_opened.push(replica)
        replica.material = make_material(self.problem, self._iteration)
        self._replicas.append(replica)
        return replica

    def start(self) -> Restart:
        """Before the first iteration (collective)."""
        x = self.design.initial()
        return Restart(0, x, self.optimizer.init(x, 0.0, 1.0))

    def enter_iteration(self, iteration: int) -> bool:
        """Put the continuation parameters of an iteration in force; whether any of them changed (local)."""
        self._iteration = iteration
        for physics in (self.physics, *self._replicas):
            physics.material = make_material(self.problem, iteration)
        return iteration > 1 and self.parameters(iteration) != self.parameters(iteration - 1)

    @property
    def evolving(self) -> list[tuple[int, Evolving]]:
        """The functionals that remember something, with their numbers (local)."""
        return [(k, part) for k, part in enumerate(self.functionals) if isinstance(part, Evolving)]

    def parameters(self, iteration: int) -> dict[str, float]:
        """Continuation parameters at an iteration (local)."""
        return {name: value_at(schedule, iteration) for name, schedule in self.problem.continued.items()}

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def complaints(problem: Problem) -> list[str]:
    """What is wrong with a problem whatever the mesh (local)."""
    said = check_consistency(problem) + engine.complaints(problem) + registry.complaints(problem.gradient.source)
    return said or _block_complaints(problem) + _moving_complaints(problem) + _response_complaints(problem)


def _block_complaints(problem: Problem) -> list[str]:
    """Why there are no blocks for a source that needs them (local)."""
    if not registry.uses_blocks(problem.gradient.source) or engine.uses_voxels(problem):
        return []
    said, levels = [], problem.gradient.block.bit_length() - 1
    if problem.mesh.refine < levels:
        how = "refine, and take a coarser mesh file"
        if problem.mesh.box is not None:
            why = "; ".join(engine.obstacles(problem)) or "engine is assembled"
            how = f"refine a coarser box, or let the voxel engine solve, which needs no refinement (here: {why})"
        said.append(
            f"gradient.block: blocks of {problem.gradient.block} are the cells of a mesh before it is refined {levels} "
            f"time{'s' * (levels > 1)}, but mesh.refine is {problem.mesh.refine}; {how}"
        )
    if problem.gradient.source == "onsg" and problem.gradient.onsg.architecture == "conv":
        said.append(
            "gradient.onsg.architecture: conv needs a box of equal cells on the voxel engine; use mlp or residual"
        )
    if problem.solver.degree != 1:
        said.append(f"solver.degree: {problem.gradient.source} has degree 1 only")
    return said


def _response_complaints(problem: Problem) -> list[str]:
    """Why a source does not serve where more than compliances is sought or limited (local)."""
    name = problem.gradient.source
    carries = registry.carries(name)
    if problem.design.robust is not None and carries == "compliance":
        return [f"gradient.source: {name} works on the drawn design, not on a robust one; use secant, inexact or exact"]
    if problem.functionals and carries != "any":
        kinds = " and ".join(sorted({f.label for f in problem.functionals}))
        return [f"gradient.source: {name} cannot carry {kinds}, which is not linear in the state; use exact or inexact"]
    if not problem.probes or carries != "compliance":
        return []
    more = "for a displacement or temperature use secant, onsg, inexact or exact"
    return [f"gradient.source: {name} learns compliances only; {more}"]


def _moving(problem: Problem) -> bool:
    """Whether a support has a displacement or temperature other than zero (local)."""
    return any(support.moves for support in problem.supports)


def _moving_complaints(problem: Problem) -> list[str]:
    """Why a source does not serve where supports move (local)."""
    if problem.gradient.source != "dni" or not _moving(problem):
        return []
    return ["gradient.source: dni does not learn designs that a support loads (supports.value); use secant or exact"]


def _state_equation(problem: Problem, comm: MPI.Comm) -> tuple[Mesh | VoxelMesh, AssembledEquation | VoxelEquation]:
    """The mesh and the engine that the problem asks for (collective)."""
    if engine.uses_voxels(problem):
        block = problem.gradient.block if registry.uses_blocks(problem.gradient.source) else 1
        box, refine = problem.mesh.box, problem.mesh.refine
        grid = voxelized(problem.mesh, comm, block) if box is None else voxel_mesh(box, refine, comm, block)
        return grid, VoxelEquation(grid, problem)
    mesh = build_mesh(problem.mesh, comm)
    raise_together(comm, check_dimension(problem, mesh.dim))
    return mesh, AssembledEquation(mesh, problem)


def rest_collector(opened: ExitStack, comm: MPI.Comm) -> None:
    """Let Python's garbage collector rest until the stack is left, if there are several ranks (local)."""
    if gc.isenabled() and comm.size > 1:
        gc.disable()
        opened.callback(gc.enable)


def make_replica(problem: Problem, comm: MPI.Comm) -> AssembledEquation | VoxelEquation:
    """The state equation of a problem alone, ready to solve; to be closed (collective)."""
    _, physics = _state_equation(problem, comm)
    physics.prepare()
    return physics


def state_arrays(state: Any) -> tuple[dict[str, Array], dict[str, Any]]:
    """An optimizer state as (n,) arrays and scalars, for a checkpoint (local)."""
    values = {f.name: getattr(state, f.name) for f in fields(state)}
    arrays = {name: v for name, v in values.items() if isinstance(v, np.ndarray)}
    return arrays, {name: v for name, v in values.items() if name not in arrays}


def restore_state(fresh: Any, arrays: dict[str, Array], scalars: dict[str, Any]) -> Any:
    """The optimizer state from what `state_arrays` gave; `fresh` has the right type (local).

    What another optimizer left behind is passed over.
    """
    known = {f.name for f in fields(fresh)}
    return replace(fresh, **{name: value for name, value in (arrays | scalars).items() if name in known})
