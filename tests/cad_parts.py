"""CAD parts for tests, drawn by the kernel of gmsh."""

from contextlib import contextmanager

import gmsh

RADIUS, SIZE = 4.0, (40.0, 20.0, 5.0)


@contextmanager
def drawing(path):
    """The kernel of gmsh; what is drawn is written to a file."""
    gmsh.initialize(argv=[], readConfigFiles=False, interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    try:
        yield gmsh.model.occ
        gmsh.model.occ.synchronize()
        gmsh.write(str(path))
    finally:
        gmsh.finalize()


def draw_plate(path):
    """A plate with a hole at (10, 10); the path."""
    with drawing(path) as occ:
        hole = occ.addCylinder(10, 10, -1, 0, 0, 7, RADIUS)
        occ.cut([(3, occ.addBox(0, 0, 0, *SIZE))], [(3, hole)])
    return path
