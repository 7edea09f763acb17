"""The closed surface of a part that is to be filled with voxels, from a surface file or a CAD file. Serial."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from morpho.errors import InputError
from morpho.interfaces import Array
from morpho.mesh.cad import surface_of
from morpho.problem.spec import CAD
from morpho.triangles import PLACES, SURFACES, crossings, gaps, read_triangles

TIGHT = 1e-6  #: a gap of that share of the spacing is none


@dataclass(frozen=True)
class Shell:
    """A closed surface."""

    corners: Array  #: (t, 3, 3)
    solid: bool  #: whether what it encloses is material, or a cavity of it
    volume: float  #: enclosed


@dataclass(frozen=True)
class Part:
    """Material is what a solid shell encloses and no cavity does."""

    shells: list[Shell]
    faces: dict[str, Array] = field(default_factory=dict)  #: (t, 3, 3) of each named face
    notes: tuple[str, ...] = ()

    @property
    def bounds(self) -> tuple[Array, Array]:
        x = np.concatenate([shell.corners.reshape(-1, 3) for shell in self.shells])
        return x.min(axis=0), x.max(axis=0)

    @property
    def triangles(self) -> Array:
        """(t, 3, 3) of all shells."""
        return np.concatenate([shell.corners for shell in self.shells])

    @property
    def volume(self) -> float:
        """Of the material, as long as no two shells cross."""
        return sum(shell.volume if shell.solid else -shell.volume for shell in self.shells)


def read_part(path: str, spacing: float) -> Part:
    """The part in a file; gaps in its surface may be as wide as half a voxel (local).

    Raises:
        InputError: it cannot be read, or its surface is open or crosses itself.
    """
    ending = Path(path).suffix.lower()
    if ending in CAD:
        try:
            solids, faces, note = surface_of(path)
        except InputError:
            raise
        except Exception as error:  # gmsh's
            raise InputError(f"mesh.voxelize: cannot read {path}: {' '.join(str(error).split())}") from None
        return Part([Shell(corners, True, abs(_volume(corners))) for corners in solids], faces, (note,))
    if ending not in SURFACES:
        kinds = ", ".join((*SURFACES, *CAD))
        raise InputError(f"mesh.voxelize: {path} should end with one of {kinds}; a mesh of the volume goes into file")
    try:
        return _of_surface(read_triangles(path), path, spacing)
    except InputError as error:
        raise InputError([f"mesh.voxelize: {text}" for text in error.complaints]) from None


def _of_surface(mesh: Any, path: str, spacing: float) -> Part:
    found = gaps(mesh)
    wide = [gap for gap in found if gap[1] > spacing / 2]
    if wide:
        places = "; ".join(f"{_vector(x)}, {size:.3g} across" for x, size in wide[:PLACES])
        more = f" and {len(wide) - PLACES} more" if len(wide) > PLACES else ""
        raise InputError(
            f"the surface of {path} is open: {len(wide)} hole{'s' * (len(wide) > 1)}, at {places}{more}; close "
            "them in the CAD program, or with a repair tool"
        )
    notes = []
    if any(gap[1] > TIGHT * spacing for gap in found):
        notes.append(f"{len(found)} gaps of at most {found[0][1]:.3g} in the surface of {path} are closed")
    said = crossings(mesh)
    pieces = mesh.split(only_watertight=False) if not found and mesh.is_winding_consistent else [mesh]
    if len(said) and len(pieces) == 1:
        places = "; ".join(_vector(x) for x in said[:: max(1, len(said) // PLACES)][:PLACES])
        raise InputError(f"the surface of {path} crosses itself, at {places}; repair it in the CAD program")
    if len(said):
        notes.append(f"the {len(pieces)} bodies of {path} overlap: what any of them encloses is filled")
    if not mesh.is_winding_consistent:
        mesh.fix_normals(multibody=True)
    outward = 1 if max((piece.volume for piece in pieces), key=abs) > 0 else -1
    shells = [
        Shell(
            np.asarray(piece.triangles, np.float64)[:, ::outward],
            bool(piece.volume * outward > 0),
            abs(float(piece.volume)),
        )
        for piece in pieces
    ]
    cavities = sum(not shell.solid for shell in shells)
    bodies = len(shells) - cavities
    what = f"{path}: {len(mesh.faces)} triangles, {bodies} bod{'ies' if bodies > 1 else 'y'}"
    notes.insert(0, f"{what}, {cavities} cavities" if cavities else what)
    return Part(shells, {}, tuple(notes))


def _volume(corners: Array) -> float:
    a, b, c = (corners - corners.reshape(-1, 3).mean(axis=0)).swapaxes(0, 1)
    return float(np.einsum("ij,ij", a, np.cross(b, c)) / 6.0)


def _vector(v: Array) -> str:
    return "(" + ", ".join(f"{c:.4g}" for c in v) + ")"
