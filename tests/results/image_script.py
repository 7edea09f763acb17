"""Write series of image data: APPEND_FROM|none STEPS {FOLDER SHAPE}..., lists as 4,3,2."""

import sys
from pathlib import Path

from mpi4py import MPI

import numpy as np
from results_boxes import ORIGIN, SPACING, centres, image_box, points

from morpho.results.vtk import VtkSeries

append_from = None if sys.argv[1] == "none" else int(sys.argv[1])
for folder, text in zip(sys.argv[3::2], sys.argv[4::2], strict=True):
    shape = [int(n) for n in text.split(",")]
    dim = len(shape)
    grid = image_box(shape, MPI.COMM_WORLD, np.multiply(SPACING[:dim], shape), ORIGIN)
    series = VtkSeries(Path(folder), grid, append_from)
    middle = centres(grid)
    number = np.floor((middle - ORIGIN)[:, :dim] / SPACING[:dim]).astype(int)
    for step in map(int, sys.argv[2].split(",")):
        cells = {
            "key": np.ravel_multi_index(number.T[::-1], shape[::-1]) + step / 1000,
            "pair": middle[:, :2],
            "physical_density": 1.0 * (number[:, 0] < shape[0] // 2),
        }
        series.write(step, cells, {"place": points(grid)[:, :dim]})
