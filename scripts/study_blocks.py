"""How much would better blocks help? scripts/env python3 scripts/study_blocks.py [problem ...]

A network that gives the stiffness of a block, or the shapes in which it deforms, can at best give the true ones. Here
they are computed, by solving every block finely for each motion of its corners (its faces move bilinearly): what that
gains is the most that any learned coarse operator of this kind can gain. Beside it the blocks that morpho solves on (a
block has the mean modulus of its cells, and deforms trilinearly), and the Galerkin product of trilinear shapes.

On designs of the exact loop: the relative error of the blocks' own gradient, and of the secant's with these blocks,
anchored at an exact gradient so many designs ago. Results go to docs/bench/blocks.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpi4py import MPI

import numpy as np
import scipy.sparse

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
PAGE = ROOT / "docs" / "bench" / "blocks.md"

ITERATIONS = 60
LOOK = (5, 15, 25, 35, 45, 55, 60)  #: designs at which errors are measured
SINCE = 5  #: designs between an anchor and its use; a stage of the continuation has ten
LARGEST = 4  #: blocks that are solved finely; of 8 it takes hours
CHUNK = 64  #: blocks that are solved at a time
TIGHT = ["solver.rtol=1e-6", "optimizer.objective_tolerance=0", "optimizer.tolerance=0", "gradient.source=exact"]
KINDS = ("mean", "galerkin", "multiscale")


class Blocks:
    """A box of blocks of one kind, on one process, with direct solves."""

    def __init__(self, physics: Any, block: int, poisson: float) -> None:
        from morpho.fem.elasticity import stiffness
        from morpho.fem.voxel.coarsening import coarsen_mask

        mesh, self.physics, self.block = physics.mesh, physics, block
        self.K0 = stiffness(mesh.spacing[:3], poisson, "strain")
        held = physics.held_mask()
        for _ in range(block.bit_length() - 1):
            held = coarsen_mask(held, physics.planes)
        self.nodes = (held.shape[0], held.shape[1], held.shape[3])  # z, y, x
        self.free = ~held.transpose(0, 1, 3, 2).reshape(-1)
        self.count = tuple(n - 1 for n in self.nodes)
        side = block + 1
        t = np.arange(side) / block
        line = np.stack([1 - t, t])
        shapes = np.einsum("az,by,cx->zyxabc", line, line, line).reshape(side**3, 8)
        self.trilinear = np.kron(shapes, np.eye(3))  # fine dofs of a block, dofs of its corners
        grid = np.arange(side**3).reshape(side, side, side)
        first = grid[:-1, :-1, :-1].reshape(-1, 1)
        corner = np.array([dz * side**2 + dy * side + dx for dz in (0, 1) for dy in (0, 1) for dx in (0, 1)])
        self.cells = ((first + corner)[:, :, None] * 3 + np.arange(3)).reshape(block**3, 24)
        inside = np.zeros((side, side, side), bool)
        inside[1:-1, 1:-1, 1:-1] = True
        self.inside = np.flatnonzero(np.repeat(inside.reshape(-1), 3))
        z, y, x = np.meshgrid(*(np.arange(n) for n in self.count), indexing="ij")
        low = ((z * self.nodes[1] + y) * self.nodes[2] + x).reshape(-1, 1)
        step = [
            dz * self.nodes[1] * self.nodes[2] + dy * self.nodes[2] + dx
            for dz in (0, 1)
            for dy in (0, 1)
            for dx in (0, 1)
        ]
        self.dofs = ((low + np.array(step))[:, :, None] * 3 + np.arange(3)).reshape(-1, 24)
        self.loads = [self._restricted(f) for f in physics.forces]

    def _restricted(self, forces: Any) -> np.ndarray:
        fine = np.zeros(self.physics.shape)
        fine.reshape(-1)[forces.dofs] = forces.values
        out = fine.transpose(0, 1, 3, 2)
        for axis in range(3):
            out = np.tensordot(self._line(out.shape[axis], self.nodes[axis]), out, (0, axis))
            out = np.moveaxis(out, 0, axis)
        return out.reshape(-1)

    def _line(self, fine: int, coarse: int) -> np.ndarray:
        """(fine, coarse) linear interpolation along an axis."""
        at = np.arange(fine)[:, None] / self.block
        return np.clip(1 - np.abs(at - np.arange(coarse)), 0, None)

    def energies(self, rho: np.ndarray, kind: str) -> np.ndarray:
        """(k, n) strain energies of the cells at unit stiffness, in the solution on these blocks."""
        b, (nz, ny, nx) = self.block, self.count
        E = (
            self.physics.material.stiffness(rho)
            .reshape(nz, b, ny, b, nx, b)
            .transpose(0, 2, 4, 1, 3, 5)
            .reshape(-1, b**3)
        )
        matrices, shapes = np.empty((len(E), 24, 24)), []
        for start in range(0, len(E), CHUNK):
            part = slice(start, start + CHUNK)
            if kind == "mean":
                matrices[part] = self.K0 * b * E[part].mean(1)[:, None, None]
                continue
            phi = self.trilinear[None].repeat(len(E[part]), 0)
            K = self._stiffness(E[part])
            if kind == "multiscale":
                inner = self.inside
                rest = K[:, inner] @ phi - K[:, inner][:, :, inner] @ phi[:, inner]
                phi[:, inner] = -np.linalg.solve(K[:, inner][:, :, inner], rest)
                shapes.append(phi)
            matrices[part] = phi.transpose(0, 2, 1) @ K @ phi
        rows, columns = np.repeat(self.dofs, 24, 1), np.tile(self.dofs, (1, 24))
        size = len(self.free)
        K = scipy.sparse.coo_matrix((matrices.ravel(), (rows.ravel(), columns.ravel())), (size, size)).tocsc()
        solve = factorized(K[self.free][:, self.free].tocsr())
        out = []
        for load in self.loads:
            u = np.zeros(size)
            u[self.free] = solve(load[self.free])
            corners = u[self.dofs]
            fine = np.einsum("eij,ej->ei", np.concatenate(shapes), corners) if shapes else corners @ self.trilinear.T
            own = fine[:, self.cells]
            energy = np.einsum("eci,ij,ecj->ec", own, self.K0, own, optimize=True)
            cells = energy.reshape(nz, ny, nx, b, b, b).transpose(0, 3, 1, 4, 2, 5).reshape(-1)
            out.append(cells)
        return np.array(out)

    def _stiffness(self, E: np.ndarray) -> np.ndarray:
        """(m, dofs, dofs) of blocks with moduli (m, cells)."""
        n = (self.block + 1) ** 3 * 3
        K = np.zeros((len(E), n, n))
        for cell, dofs in enumerate(self.cells):
            K[:, dofs[:, None], dofs] += E[:, cell, None, None] * self.K0
        return K


def factorized(K: Any) -> Any:
    """What solves with a symmetric matrix."""
    from petsc4py import PETSc

    A = PETSc.Mat().createAIJ(K.shape, csr=(K.indptr, K.indices, K.data), comm=MPI.COMM_SELF)
    ksp = PETSc.KSP().create(MPI.COMM_SELF)
    ksp.setOperators(A)
    ksp.setType("preonly")
    ksp.getPC().setType("cholesky")
    ksp.getPC().setFactorSolverType("mumps")

    def solve(load: np.ndarray) -> np.ndarray:
        b, x = PETSc.Vec().createWithArray(load.copy(), comm=MPI.COMM_SELF), A.createVecRight()
        ksp.solve(b, x)
        return np.array(x.array)

    return solve


def main() -> None:
    from study_pretrained import PROBLEMS

    names = sys.argv[1:] or list(PROBLEMS)
    rows = [row for name in names for row in study(name)]
    text = (
        "# What better blocks would gain\n\nMade by `scripts/env python3 scripts/study_blocks.py`.\nMedian of the "
        f"relative errors of the gradient at designs {', '.join(map(str, LOOK))} of the exact loop.\nThe penalty is "
        f"continued. The secant starts from an exact gradient {SINCE} designs before.\n\n"
        "| problem | block | kind | blocks alone | secant |\n|---|---|---|---|---|\n"
    )
    text += "".join(f"| {a} | {b} | {c} | {d:.3f} | {e:.3f} |\n" for a, b, c, d, e in rows)
    PAGE.write_text(text)
    print(text)


def study(name: str) -> Iterator[tuple[str, int, str, float, float]]:
    from study_pretrained import PROBLEMS, record

    import morpho
    from morpho.parts import Parts

    limit = [f"optimizer.max_iterations={ITERATIONS}"]
    problem = morpho.load_problem(ROOT / "problems" / f"{name}.yaml", [*TIGHT, *PROBLEMS[name], *limit])
    with Parts(problem, MPI.COMM_SELF) as parts:
        recorded = []
        for rho, exact in record(parts):
            material = parts.physics.material
            recorded.append((rho, exact, material.derivative(rho), material))
        print(f"{name}: {parts.mesh.n_global} cells, objective {recorded[-1][1].compliance:.6g}", flush=True)
        for block in (2, 4, 8):
            blocks = Blocks(parts.physics, block, problem.material.nu)
            for kind in KINDS[: 2 if block > LARGEST else 3]:
                alone, secant = [], []
                for at in LOOK:
                    found = []
                    for iteration in (at - SINCE, at):
                        rho, exact, derivative, material = recorded[max(iteration, 1) - 1]
                        parts.physics.material = material
                        found.append((blocks.energies(rho, kind), exact, derivative))
                    (then, exact_then, _), (now, exact_now, derivative) = found
                    scale = np.clip(exact_then.energy / np.maximum(then, 1e-30), 1 / 50, 50)
                    alone.append(error(now, exact_now, derivative))
                    secant.append(error(now * scale, exact_now, derivative))
                row = (name.removeprefix("set/"), block, kind, float(np.median(alone)), float(np.median(secant)))
                print(*row, flush=True)
                yield row


def error(energy: np.ndarray, exact: Any, derivative: np.ndarray) -> float:
    """Relative, of the gradient that follows from energies, of the worst load case."""
    pairs = [(derivative * ours, derivative * theirs) for ours, theirs in zip(energy, exact.energy, strict=True)]
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)


if __name__ == "__main__":
    main()
