"""Write the series of a test box: FOLDER APPEND_FROM|none SHAPE STEPS, the last two as 4,3,2."""

import sys
from pathlib import Path

from mpi4py import MPI

from results_boxes import box, centres

from morpho.results.vtk import VtkSeries

folder, append_from, shape, steps = sys.argv[1:]
grid = box([int(n) for n in shape.split(",")], MPI.COMM_WORLD)
series = VtkSeries(Path(folder), grid, None if append_from == "none" else int(append_from))
middle = centres(grid)
for step in map(int, steps.split(",")):
    cells = {"key": grid.key + step / 1000, "pair": middle[:, :2], "physical_density": 1.0 * (middle[:, 0] < 3.0)}
    series.write(step, cells, {"place": grid.points[:, : len(shape.split(","))]})
