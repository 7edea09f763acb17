"""Write the series of test boxes: APPEND_FROM|none STEPS {FOLDER SHAPE}..., lists as 4,3,2."""

import sys
from pathlib import Path

from mpi4py import MPI

from results_boxes import box, centres

from morpho.results.vtk import VtkSeries

append_from = None if sys.argv[1] == "none" else int(sys.argv[1])
for folder, shape in zip(sys.argv[3::2], sys.argv[4::2], strict=True):
    grid = box([int(n) for n in shape.split(",")], MPI.COMM_WORLD)
    series = VtkSeries(Path(folder), grid, append_from)
    middle = centres(grid)
    for step in map(int, sys.argv[2].split(",")):
        cells = {"key": grid.key + step / 1000, "pair": middle[:, :2], "physical_density": 1.0 * (middle[:, 0] < 3.0)}
        series.write(step, cells, {"place": grid.points[:, : len(shape.split(","))]})
