"""Fast weights: changes of low rank that weight matrices have for a while (after ProSG, Luo et al. 2023), in torch.

    W' = W + U V^T

W is never written to: when the change is over, one goes on with W. All of it can be differentiated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from morpho.gradients.adam import Adam
from morpho.gradients.network import activation

Change = tuple[Any, Any]  #: U (..., rows, rank), V (..., columns, rank); leading dimensions are batches

TINY = 1e-12  #: squared norm that is taken for zero


def changed(W: Any, change: Change, largest: float) -> Any:
    """W + U V^T (..., rows, columns), the change scaled down to `largest` |W| where it is longer (local).

    Norms are those of Frobenius.
    """
    U, V = change
    length = ((U.mT @ U) * (V.mT @ V)).sum((-2, -1)).clamp(min=TINY).sqrt()
    scale = (largest * W.norm() / length).clamp(max=1)
    return W + scale[..., None, None] * (U @ V.mT)


def against(gradient: Any, W: Any, rank: int, length: float) -> Change:
    """The change along minus the gradient (rows, columns) cut to a rank, `length` |W| long (local)."""
    import torch

    U, S, Vt = torch.linalg.svd(gradient, full_matrices=False)
    S = S[:rank]
    return -length * W.norm() / S.norm().clamp(min=TINY) * S * U[:, :rank], Vt[:rank].mT


class Hypernetwork:
    """One hidden layer from a prompt to the changes of several matrices; at first it changes nothing.

    Args:
        inputs: numbers in a prompt.
        shapes: (rows, columns) of the matrices.
        random: torch generator of the weights at the start.
    """

    def __init__(self, inputs: int, shapes: Sequence[tuple[int, int]], rank: int, hidden: int, random: Any) -> None:
        import torch

        self.parts = [(*shape, min(rank, *shape)) for shape in shapes]
        self.first = torch.nn.Linear(inputs, hidden)
        self.last = torch.nn.Linear(hidden, sum((rows + columns) * r for rows, columns, r in self.parts))
        with torch.no_grad():
            for layer in (self.first, self.last):
                layer.weight.uniform_(-1, 1, generator=random).mul_(layer.in_features**-0.5)
            self.first.bias.zero_()
            self.last.bias.uniform_(-1, 1, generator=random)
            for U, _ in self._cut(self.last.bias):
                U.zero_()
            for U, _ in self._cut(self.last.weight.T):
                U.zero_()
        self.adam = Adam([*self.first.parameters(), *self.last.parameters()])

    def changes(self, prompt: Any) -> list[Change]:
        """U and V for each matrix from a prompt (..., inputs) (local)."""
        return self._cut(self.last(activation(self.first(prompt))))

    def _cut(self, flat: Any) -> list[Change]:
        """Views of a flat (..., numbers) as U and V of each matrix (local)."""
        found, at = [], 0
        for rows, columns, rank in self.parts:
            both = []
            for size in (rows, columns):
                both.append(flat[..., at : at + size * rank].unflatten(-1, (size, rank)))
                at += size * rank
            found.append((both[0], both[1]))
        return found
