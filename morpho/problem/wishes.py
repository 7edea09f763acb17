"""Words that people look for in problem files, and what morpho has instead, or that it has no such thing."""

from __future__ import annotations

import re

_LINEAR = "morpho computes small displacements of linear elastic bodies at rest"

#: pattern of a word -> what to say of it
_WISHES = {
    r"torque|couple": "a couple is a force `moment: [0, 0, 5]` on a region (in 2-D one number)",
    r"remote|lever": "a force acts through a point elsewhere with `total` and `at`",
    r"min(imum)?_?(member_?)?(size|thickness|width|length)|length_?scale|member_?size": (
        "the length scale is set by design.filter.radius (members become about as thick as its diameter), with "
        "design.projection for sharp edges"
    ),
    r"max(imum)?_?(member_?)?(size|thickness|width)": "morpho has no largest member size",
    r"symmetr|mirror": (
        "a symmetric design is `design.symmetry: [{plane: {axis: x, at: 30}}]`; where the loads are symmetric, too, "
        "model the half, hold what moves through the plane (fix: x on it), and draw the whole with `morpho report "
        "--symmetric`"
    ),
    r"overhang|print|additive|self_?support|build_?direction|am_": (
        "what can be printed without supports is `design.overhang: {direction: z}`"
    ),
    r"extru": "what is the same in every section is `design.extrude: z`",
    r"cast|draft|mold|mould|draw_?direction": "what can be drawn out of a mould is `design.casting: {direction: z}`",
    r"pattern|periodic|cyclic": "equal pieces are `design.repeat: {axis: x, times: 4}`, or {about: z, times: 4}",
    r"poro|infill|local_?vol": "a design that is porous everywhere takes `{kind: local_volume, radius: 4, max: 0.6}`",
    r"milling": "morpho has no constraint of milling",
    r"stress|von_?mises|yield|strength": (
        "the von Mises stress is limited or minimised by `kind: stress`, and is in the fields of a run"
    ),
    r"fatigue|safety": "morpho has no fatigue; limit the stress (kind: stress)",
    r"freq|eigen|modal|vibrat": "natural frequencies are raised or limited by `kind: frequency`, with material.density",
    r"buckl|dynamic|damping|inertia|transient": f"{_LINEAR} and natural frequencies, without buckling or damping",
    r"heat|therm|temperature|conduct|cooling|flux|convect": (
        "heat conduction is `physics: heat`, with supports[].temperature, loads[].sources and convection"
    ),
    r"fluid|flow|physics|magnet|electric|acoustic": f"{_LINEAR} and heat conduction, and no other physics",
    r"mechanism|gripper|input_?spring|output_?(port|displacement|region|spring)|inverter": (
        "a mechanism is `objective: {kind: displacement, region, direction}` with `springs` beside `loads`"
    ),
    r"displacement|deflection": (
        "a displacement is minimised or limited by `kind: displacement`, with a region and a direction; prescribed "
        "displacements are supports[].value"
    ),
    r"spring|elastic_?support|foundation|bedding": "springs stand beside `supports`: `springs: [{region, stiffness}]`",
    r"contact|friction|plastic|nonlinear|non_?linear|large_|hyper|creep": _LINEAR,
    r"ortho|aniso|lamin|fib(er|re)|composite|materials|multi_?material|layer": "morpho has one isotropic material",
    r"^(rho|density|mass|weight)$|mass_?(fraction|density)|massfrac": (
        "morpho counts volume, which is mass divided by density; for weight as a load give `self_weight`, "
        "a force per volume"
    ),
    r"vol(ume)?_?(max|limit|target)|(max|target)_?vol": "the volume is limited by `volume_fraction`",
    r"^forces?$|^loads?$": "a force is given as total, traction, pressure, line or point, with a region",
    r"gravity|acceleration": "give `self_weight: [0, -...]`, a force per volume, among the forces of a load case",
    r"thickness": "a 2-D mesh has thickness 1; scale E or the loads",
    r"unit": "numbers have no units; use consistent ones",
    r"multi_?load|worst|min_?max": (
        "the objective is the weighted sum over the load cases (loads[].weight), or with `over: worst` the worst one"
    ),
    r"robust|uncertain|erode|dilat": "a robust design is `design.robust`, with a filter and a projection",
    r"level_?set|beso|eso$": "morpho designs by densities",
}


def about(word: str) -> str | None:
    """What to say of a key or a name that a problem file does not know, if it is one that people look for."""
    return next((text for pattern, text in _WISHES.items() if re.search(pattern, word.lower())), None)
