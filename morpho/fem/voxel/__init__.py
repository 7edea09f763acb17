"""State equations on a box of equal cells: one constant element matrix, no mesh, no matrix, geometric multigrid."""
