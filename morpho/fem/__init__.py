"""State equations: what turns a physical density into displacements, compliance and its derivative."""
