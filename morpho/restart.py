"""What a checkpoint holds, and going on from one: on any number of ranks, with settings that may have changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from morpho.errors import InputError
from morpho.gradients.physics import Floats
from morpho.interfaces import Array
from morpho.parallel import raise_together
from morpho.parts import Parts, restore_state, state_arrays
from morpho.problem import Problem
from morpho.results import checkpoint
from morpho.step import Restart
from morpho.version import VERSION

#: settings of a source that its saved state has the shape of
SHAPING = {"form", "architecture", "hidden", "of", "loss", "rank", "subspace"}
Meta = dict[str, Any]


def contents(parts: Parts, restart: Restart, wall_seconds: float) -> tuple[dict[str, Any], Meta]:
    """Arrays (n,) or (n, c) of owned cells, or what makes slices of them, and JSON values,
    for a checkpoint (collective).
    """
    own, scalars = _packed("", restart.x, restart.state)
    fields: dict[str, Any] = {**own}
    anchor: Meta | None = None
    if restart.anchor is not None:
        anchored, anchor = _packed("anchor_", *restart.anchor)
        fields |= anchored
    for i in range(len(parts.physics.displacements())):
        fields[f"u_{i}"] = parts.physics.displacement_rows(i)
    source_arrays, source_values = parts.supervisor.save()
    fields |= {f"gradient_{name}": values for name, values in source_arrays.items()}
    remembered = {}
    for k, functional in parts.evolving:
        arrays, remembered[str(k)] = functional.save()
        fields |= {f"functional_{k}_{name}": values for name, values in arrays.items()}
    problem = parts.problem
    meta = {
        "functionals": remembered,
        "gradient": {"source": problem.gradient.source, "shape": _shape(problem), "values": source_values},
        "iteration": restart.iteration,
        "optimizer": scalars,
        "anchor": anchor,
        "anchor_is_feasible": restart.anchor_is_feasible,
        "task": _task(problem),
        "mesh": parts.fingerprint,
        "cases": list(parts.physics.cases),
        "scale": parts.physics.scale.tolist(),
        "objectives": list(restart.objectives),
        "changes": list(restart.changes),
        "ahead": restart.ahead,
        "exact_solves": restart.exact_solves,
        "linear_iterations": restart.linear_iterations,
        "wall_seconds": wall_seconds,
        "morpho_version": VERSION,
    }
    return fields, meta


@dataclass(frozen=True)
class Found:
    """A checkpoint, read and put in force."""

    restart: Restart
    wall_seconds: float  #: of the run before it
    notes: list[str]  #: what is to be said of it
    damaged: list[Path]  #: sets that were passed over


def load_restart(parts: Parts, folder: Path) -> Found:
    """The newest usable checkpoint of a folder (collective).

    Sets the displacements and the state of the gradient source; writes nothing.

    Raises:
        InputError: there is none, or it does not fit the problem.
    """
    mesh = parts.mesh
    arrays, meta, damaged = checkpoint.read(folder, mesh.comm, mesh.key, mesh.n_global)
    raise_together(mesh.comm, [f"{folder}: {text}" for text in _misfits(parts, meta)])
    found, said = None, []
    try:
        notes = _changes(parts, meta)
        restart = _restored(parts, arrays, meta, with_source=not notes)
        found = Found(restart, float(meta["wall_seconds"]), notes, damaged)
    except InputError as error:
        said = error.complaints
    except (LookupError, ValueError, TypeError, AttributeError, AssertionError) as error:
        said = [
            f"{folder}: its checkpoint does not fit the problem ({type(error).__name__}: {error}); resume with the "
            f"settings it was written with, or start afresh with `morpho solve`"
        ]
    raise_together(mesh.comm, said)
    assert found is not None
    return found


def _misfits(parts: Parts, meta: Meta) -> list[str]:
    """Why a checkpoint is not of this mesh and these load cases; older ones do not say (collective)."""
    said, now = [], parts.fingerprint
    then = meta.get("mesh", now)
    if then != now:
        differs = ", ".join(
            f"{key} {then.get(key)} instead of {now.get(key)}"
            for key in {**then, **now}
            if then.get(key) != now.get(key)
        )
        said.append(f"the checkpoint is of another mesh ({differs}); resume with the mesh of the run, or start afresh")
    cases = list(parts.physics.cases)
    if len(meta.get("cases", cases)) != len(cases):
        said.append(
            f"the checkpoint is of the load cases {', '.join(meta['cases'])}, the problem has {', '.join(cases)}; "
            "resume with as many as there were, or start afresh with `morpho solve`"
        )
    return said


def _restored(parts: Parts, arrays: dict[str, Array], meta: Meta, with_source: bool) -> Restart:
    """Where a checkpoint left off; displacements and source are set (collective)."""
    x, state = _unpacked("", parts, arrays, meta["optimizer"])
    anchor = meta.get("anchor")
    restart = Restart(
        iteration=meta["iteration"],
        x=x,
        state=state,
        objectives=tuple(meta["objectives"]),
        changes=tuple(meta.get("changes", ())),
        ahead=meta.get("ahead", 0),
        exact_solves=meta["exact_solves"],
        linear_iterations=meta["linear_iterations"],
        anchor=None if anchor is None else _anchor(parts, arrays, anchor),
        anchor_is_feasible=meta.get("anchor_is_feasible", True),
    )
    for i in range(len(parts.physics.displacements())):
        given = arrays.get(f"u_{i}")
        if given is not None and given.shape == parts.physics.displacement(i).shape:  # else from zero
            parts.physics.set_displacement(i, given)
    if len(meta.get("scale", ())) == len(parts.problem.probes) > 0:
        parts.physics.pairs.scale = np.array(meta["scale"])
    for k, functional in parts.evolving:
        start = f"functional_{k}_"
        own = {name.removeprefix(start): v for name, v in arrays.items() if name.startswith(start)}
        if own:
            functional.restore(own, meta["functionals"][str(k)])
    saved = meta.get("gradient", {})
    if with_source and saved.get("source") == parts.problem.gradient.source:
        own = {k.removeprefix("gradient_"): v for k, v in arrays.items() if k.startswith("gradient_")}
        if meta.get("task") != _task(parts.problem):
            own.pop("exact", None)  # no step is taken back to a design of another task
        parts.supervisor.restore(own, saved["values"])
    return restart


def _changes(parts: Parts, meta: Meta) -> list[str]:
    """What keeps the source from going on with its saved state: settings that this has the shape of (local)."""
    saved, now = meta.get("gradient", {}), _shape(parts.problem)
    if saved.get("source") != parts.problem.gradient.source:
        return []
    then = {"displacements": list[str]()} | saved.get("shape", now)
    changed = [f"gradient.{key} was {then.get(key)} and is {now[key]}" for key in now if then.get(key) != now[key]]
    return [f"{', '.join(changed)}: {saved['source']} starts to learn afresh"] if changed else []


def _shape(problem: Problem) -> Meta:
    """The settings that the state of the source has the shape of (local)."""
    spec = problem.gradient.model_dump(mode="json")
    found = {"block": spec["block"], "displacements": [str(probe) for probe in problem.probes]}
    for part in ("onsg", "prosg") if spec["source"] == "prosg" else (spec["source"],):
        found |= {f"{part}.{key}": value for key, value in spec.get(part, {}).items() if key in SHAPING}
    return found


def _task(problem: Problem) -> Meta:
    """All that the value of the objective and what is allowed depend on, as JSON values (local)."""
    return problem.model_dump(mode="json", exclude={"name", "output", "gradient", "optimizer", "start"})


def _anchor(parts: Parts, arrays: dict[str, Array], scalars: Meta) -> tuple[Floats, Any]:
    """Design and optimizer state that steps can be taken back to (collective)."""
    x, state = _unpacked("anchor_", parts, arrays, scalars)
    return x.astype(np.float32), state


def _packed(prefix: str, x: Array | Floats, state: Any) -> tuple[dict[str, Any], Meta]:
    """A design and the optimizer's state there, as named arrays and scalars (local)."""
    arrays, scalars = state_arrays(state)
    return {f"{prefix}x": x} | {f"{prefix}optimizer_{name}": values for name, values in arrays.items()}, scalars


def _unpacked(prefix: str, parts: Parts, arrays: dict[str, Array], scalars: Meta) -> tuple[Array, Any]:
    """What `_packed` took (collective)."""
    x, start = arrays[f"{prefix}x"], f"{prefix}optimizer_"
    evolved = {name.removeprefix(start): values for name, values in arrays.items() if name.startswith(start)}
    return x, restore_state(parts.optimizer.init(x, 0.0, 1.0), evolved, scalars)
