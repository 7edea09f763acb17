"""The rules of making of a problem on its mesh: which maps they are, what is wrong with them, and both in words."""

from __future__ import annotations

import math
from collections.abc import Callable

from mpi4py import MPI

import numpy as np
from numpy.typing import NDArray

from morpho.design.casting import Behind, Cast
from morpho.design.equal import EqualCells
from morpho.design.images import Mean, Repeated, Turned
from morpho.design.matched import Matched, images_of, missing
from morpho.design.overhang import Printed
from morpho.interfaces import Array, DesignMap
from morpho.mesh import Mesh, VoxelMesh
from morpho.problem.making import Casting, Overhang, Repeat, SymmetryPlane
from morpho.problem.spec import Design

LOST = 0.02  #: share of the voxels of a part that may be without an image: its surface is met by chance
ALIKE = 0.01  #: relative difference of edges, and half a degree of angles, that is rounding of the problem file
MOST = 12  #: numbers that a message lists
VOXELS = "equal cells on the voxel engine: a box of quadrilaterals or hexahedra, or a part filled with voxels"


class Making:
    """Equal cells (before the filter, and after it, whose reach ends at the border) and the shape that follows.

    Holds communicators: use `close` (collective).
    """

    def __init__(self, mesh: Mesh | VoxelMesh, design: Design, counted: NDArray[np.bool_], void: NDArray[np.bool_]):
        """The maps (collective).

        Args:
            counted: (n,) which cells are designed.
            void: (n,) which are always void.
        """
        self.mesh, self.design = mesh, design
        self.complaints, self.notes, self.words = list[str](), list[str](), list[str]()
        self._lines: dict[int, MPI.Comm] = {}
        self._means: list[Mean] = []
        for i, symmetry in enumerate(design.symmetry):
            self._mirror(f"design.symmetry[{i}].plane.at", symmetry.plane)
        if design.repeat is not None:
            self._repeat(design.repeat)
        if design.extrude is not None:
            self._extrude(design.extrude)
        self.equal: EqualCells | None = None  #: of the design variable; those that are not designed do not count
        self.again: EqualCells | None = None  #: of what a filter made of it
        if self._means and not self.complaints:
            everything = not mesh.comm.allreduce(not counted.all(), MPI.LOR)
            self.equal = EqualCells(mesh, self._means, None if everything else counted)
            self.again = EqualCells(mesh, self._means)
        self.shape: DesignMap | None = None  #: of the projected density
        if design.casting is not None and (voxels := self._voxels("design.casting")):
            self.shape = self._cast(voxels, design.casting, void)
        if design.overhang is not None and (voxels := self._voxels("design.overhang")):
            self.shape = self._print(voxels, design.overhang)

    def close(self) -> None:
        """Free the communicators (collective)."""
        for line in self._lines.values():
            line.Free()
        self._lines.clear()

    def _line(self, d: int) -> MPI.Comm:
        """The ranks beside this one along a direction, in their order (collective)."""
        assert isinstance(self.mesh, VoxelMesh)
        partition, comm = self.mesh.partition, self.mesh.comm
        if partition.grid[d] == 1:
            return MPI.COMM_SELF
        if d not in self._lines:
            place = partition.place(comm.rank)
            color = partition.rank_at(tuple(0 if e == d else at for e, at in enumerate(place)))
            self._lines[d] = comm.Split(color or 0, place[d])
        return self._lines[d]

    def _voxels(self, place: str) -> VoxelMesh | None:
        if isinstance(self.mesh, VoxelMesh):
            return self.mesh
        self.complaints.append(f"{place}: got a mesh of {self.mesh.cell_name} cells; it takes {VOXELS}")
        return None

    def _mirror(self, place: str, plane: SymmetryPlane) -> None:
        d, (low, high) = "xyz".index(plane.axis), self.mesh.corners
        middle = 0.5 * (low[d] + high[d])
        reaches = f"the mesh reaches from {plane.axis} = {low[d]:.6g} to {high[d]:.6g}"
        if not low[d] < plane.at < high[d]:
            self.complaints.append(f"{place}: got {plane.at:g}, outside the body: {reaches}; give {middle:.6g}")
        elif abs(plane.at - middle) > 2 * self.mesh.tolerance:
            self.complaints.append(
                f"{place}: got {plane.at:g}; {reaches} and can be symmetric about its middle only; give {middle:.6g}"
            )
        elif isinstance(self.mesh, VoxelMesh):
            self._of_box(place, Turned(self.mesh, [d]), "mirrored")
            self.words.append(f"symmetric about {plane.axis} = {middle:.6g}")
        elif self._matched(place, "mirrored", 2, lambda x: x + 2 * (middle - x[:, d : d + 1]) * np.eye(3)[d]):
            self.words.append(f"symmetric about {plane.axis} = {middle:.6g}")

    def _repeat(self, repeat: Repeat) -> None:
        place, low, high = "design.repeat.times", *self.mesh.corners
        if repeat.about is not None:
            self.words.append(f"{repeat.times} equal pieces, turned about {repeat.about}")
            self._turn(place, repeat.about, repeat.times)
            return
        assert repeat.axis is not None
        d, times = "xyz".index(repeat.axis), repeat.times
        length = (high[d] - low[d]) / times
        self.words.append(f"{times} equal pieces along {repeat.axis}, each {length:.6g} long")
        if not isinstance(self.mesh, VoxelMesh):
            shift, begin = length * np.eye(3)[d], low[d]

            def next_piece(x: Array) -> Array:
                moved = x + shift
                moved[:, d] = begin + np.mod(moved[:, d] - begin, times * length)
                return moved

            self._matched(place, "moved by a piece", times, next_piece)
            return
        cells = self.mesh.cells[d]
        if cells % times:
            parts = [n for n in range(2, cells + 1) if cells % n == 0]
            shown = ", ".join(map(str, parts[:MOST])) + (", ..." if len(parts) > MOST else "")
            self.complaints.append(
                f"{place}: got {times}, which does not divide the {cells} cells along {repeat.axis}; give {shown}"
            )
            return
        self._of_box(place, Repeated(self.mesh, self._line(d), d, times), "moved by a piece")

    def _turn(self, place: str, about: str, times: int) -> None:
        """Pieces turned about the middle of the mesh."""
        mesh, (low, high) = self.mesh, self.mesh.corners
        a, b = (e for e in range(3) if e != "xyz".index(about))
        if not isinstance(mesh, VoxelMesh):
            angle, middle = 2 * math.pi / times, 0.5 * (low + high)

            def turned(x: Array) -> Array:
                moved, r = x.copy(), x - middle
                moved[:, a] = middle[a] + math.cos(angle) * r[:, a] - math.sin(angle) * r[:, b]
                moved[:, b] = middle[b] + math.sin(angle) * r[:, a] + math.cos(angle) * r[:, b]
                return moved

            self._matched(place, "turned by a piece", times, turned)
            return
        square = mesh.cells[a] == mesh.cells[b] and abs(mesh.spacing[a] / mesh.spacing[b] - 1) < ALIKE
        if times not in (2, 4):
            self.complaints.append(
                f"{place}: got {times}; turned about {about}, cells fall on cells for 2 and 4 pieces"
            )
        elif times == 4 and not square:
            shown = " x ".join(f"{high[e] - low[e]:.6g}" for e in (a, b))
            self.complaints.append(
                f"{place}: got 4, which takes a square across {about} of square cells; this one is {shown} in "
                f"{mesh.cells[a]} x {mesh.cells[b]} cells; give 2, or make it a square"
            )
        else:
            if times == 4:
                self._of_box(place, Turned(mesh, [b], (a, b)), "turned by a piece")
            self._of_box(place, Turned(mesh, [a, b]), "turned by a half")

    def _extrude(self, axis: str) -> None:
        if (mesh := self._voxels("design.extrude")) is None:
            return
        d = "xyz".index(axis)
        self.words.append(f"extruded, the same in every section across {axis}")
        self._of_box("design.extrude", Repeated(mesh, self._line(d), d, mesh.cells[d]), "moved along")

    def _of_box(self, place: str, mean: Mean, how: str) -> None:
        """Add a mean on a box; in a part nearly every cell has to have its images (collective)."""
        self._means.append(mean)
        mesh = self.mesh
        assert isinstance(mesh, VoxelMesh)
        if mesh.filled is None:
            return
        share = mesh.listed(mean.of(mesh.filled.astype(np.float64)))
        lost = int(mesh.comm.allreduce(int(np.count_nonzero(share < 1 - 1e-9))))
        said = f"{lost} of {mesh.n_global} voxels of the part, {how}, are not all in the part"
        if lost > LOST * mesh.n_global:
            self.complaints.append(f"{place}: {said}; the part is not like this itself, leave the rule out")
        elif lost:
            self.notes.append(f"{place}: {said}; the rule holds for those that are")

    def _matched(self, place: str, how: str, times: int, mapped: Callable[[Array], Array]) -> bool:
        """Add a mean on a mesh that is mapped onto itself, or complain that it is not (collective)."""
        assert isinstance(self.mesh, Mesh)
        images = images_of(self.mesh, mapped)
        still = int(self.mesh.comm.allreduce(int(np.count_nonzero(images == self.mesh.key))))
        if how != "mirrored" and still > self.mesh.n_global // 2:
            self.complaints.append(f"{place}: got {times}; so many pieces are smaller than the cells; give fewer")
            return False
        if lost := missing(self.mesh.comm, images):
            self.complaints.append(
                f"{place}: {lost} of {self.mesh.n_global} cells, {how}, do not fall on cells of the mesh; it takes a "
                f"mesh that is like this itself, or {VOXELS}"
            )
            return False
        self._means.append(Matched(self.mesh, images, times))
        return True

    def _cast(self, mesh: VoxelMesh, casting: Casting, void: NDArray[np.bool_]) -> DesignMap:
        d, (low, high) = "xyz".index(casting.axis), mesh.corners
        line, parting, where = self._line(d), None, "where each column has its material"
        if casting.parting is not None:
            parting = round(float((casting.parting - low[d]) / mesh.spacing[d]))
            where = f"at {casting.axis} = {low[d] + parting * mesh.spacing[d]:.6g}"
            if not 0 < parting < mesh.cells[d]:
                self.complaints.append(
                    f"design.casting.parting: got {casting.parting:g}; the mesh reaches from {casting.axis} = "
                    f"{low[d]:.6g} to {high[d]:.6g}; give a coordinate inside"
                )
        two = casting.sides == "two"
        self.words.append(
            f"cast, two halves drawn apart along {casting.axis}, parted {where}: no undercut"
            if two
            else f"cast, the mould drawn off towards {_signed(casting)}: no undercut"
        )
        cast = Cast(mesh, line, d, casting.upward, two, parting)
        if mesh.filled is not None:
            whole = Cast(_full(mesh), line, d, casting.upward, two, parting)
            filled = whole.apply(mesh.filled.astype(np.float64).ravel())[0] > 0.5
            undercut = int(mesh.comm.allreduce(int(np.count_nonzero(filled & ~mesh.filled.ravel()))))
            if undercut:
                self.complaints.append(
                    f"design.casting.direction: the part has undercuts itself, {undercut} voxels outside it that are "
                    f"behind material; turn the direction, or give sides: two"
                )
        if mesh.comm.allreduce(bool(void.any()), MPI.LOR):
            behind = Behind(mesh, line, d, not casting.upward)  # void further back
            solid = mesh.listed(behind.empty(np.ascontiguousarray(mesh.grid(void.astype(np.float64))))[0])
            ahead = int(mesh.comm.allreduce(int(np.count_nonzero((solid < 0.5) & ~void))))
            if ahead and not two:
                self.notes.append(
                    f"design.casting: {ahead} cells that may become solid are in front of passive void, which is an "
                    f"undercut there; let its regions reach on to the end towards {_signed(casting)}"
                )
        return cast

    def _print(self, mesh: VoxelMesh, overhang: Overhang) -> DesignMap:
        d, (low, high) = "xyz".index(overhang.axis), mesh.corners
        flat = None if self.design.extrude is None else "xyz".index(self.design.extrude)
        beside = [e for e in range(mesh.dim) if e not in (d, flat)]
        if not beside:
            self.complaints.append("design.overhang: the extrusion makes layers, which need no support; leave it out")
            return Printed(mesh, self._line(d), d, overhang.upward)
        angles = [math.degrees(math.atan(mesh.spacing[d] / mesh.spacing[e])) for e in beside]
        cells = " x ".join(f"{h:.4g}" for h in mesh.spacing[: mesh.dim])
        if max(angles) - min(angles) > 100 * ALIKE / 2:
            self.complaints.append(
                f"design.overhang: cells of {cells} are supported at {' and '.join(f'{a:.4g}' for a in angles)} "
                f"degrees; let them be as long in both directions across {overhang.axis}"
            )
        elif abs(angles[0] - overhang.angle) > 100 * ALIKE / 2:
            self.complaints.append(
                f"design.overhang.angle: got {overhang.angle:g}, but cells of {cells} support each other at "
                f"{angles[0]:.4g} degrees; give that, or cells that are {math.tan(math.radians(overhang.angle)):.4g} "
                f"times as long along {overhang.axis} as across"
            )
        plate = low[d] if overhang.upward else high[d]
        self.words.append(
            f"printed towards {_signed(overhang)} from the plate at {overhang.axis} = {plate:.6g}, no surface flatter "
            f"than {angles[0]:.4g} degrees to it"
        )
        printed = Printed(mesh, self._line(d), d, overhang.upward, flat)
        if mesh.filled is not None:
            hanging = int(mesh.comm.allreduce(int(np.count_nonzero(printed.apply(np.ones(mesh.n))[0] < 0.5))))
            if hanging:
                self.complaints.append(
                    f"design.overhang.direction: {hanging} of {mesh.n_global} voxels of the part hang in the air "
                    "however it is designed; turn the direction, or take a box with passive void around the part"
                )
        return printed


def _signed(directed: Casting | Overhang) -> str:
    return f"{'+' if directed.upward else '-'}{directed.axis}"


def _full(mesh: VoxelMesh) -> VoxelMesh:
    """The whole box around a part (local)."""
    return VoxelMesh(mesh.comm, mesh.cells, mesh.origin, mesh.spacing, mesh.partition)
