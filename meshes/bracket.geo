// An L-shaped bracket: a base with four bolt holes, an upright with a pin hole across. Lengths in mm.
// bracket.msh is made from it by: gmsh -3 -format msh41 bracket.geo -o bracket.msh
SetFactory("OpenCASCADE");
Box(1) = {0, 0, 0, 100, 60, 80};
Box(2) = {-1, -1, 20, 61, 62, 61};
n = 10;
For x In {12 : 48 : 36}
  For y In {12 : 48 : 36}
    Cylinder(n) = {x, y, -1, 0, 0, 22, 5};
    n += 1;
  EndFor
EndFor
Cylinder(20) = {80, -1, 65, 0, 62, 0, 7};
BooleanDifference(30) = { Volume{1}; Delete; }{ Volume{2, 10:13, 20}; Delete; };

bolts() = {};
For x In {12 : 48 : 36}
  For y In {12 : 48 : 36}
    bolts() += Surface In BoundingBox {x - 5.1, y - 5.1, -0.1, x + 5.1, y + 5.1, 20.1};
  EndFor
EndFor
Physical Volume("body") = {30};
Physical Surface("bolts") = bolts();
Physical Surface("pin") = Surface In BoundingBox {72.9, -0.1, 57.9, 87.1, 60.1, 72.1};
Mesh.MeshSizeMin = 6.5;
Mesh.MeshSizeMax = 6.5;
Mesh.Binary = 1;
