"""One page about a run: what it was asked, what came out, how it got there. Serial."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morpho.errors import InputError, MorphoError
from morpho.results.curves import curve
from morpho.results.history import COLUMNS, read_history
from morpho.results.pages import TEMPLATES, embedded, write_page
from morpho.results.render import draw_album

LINES = 40  #: of the end of the log
TEXT = 2_000_000  #: bytes of a log or a result that are read
_PARAMETERS = {
    "penalty": "penalty",
    "beta": "sharpness of the projection",
    "radius": "filter radius",
    "move_limit": "move limit",
}
_TITLES = {"objective": "objective", "volume": "volume fraction", "greyness": "greyness", "change": "largest change"}
_STEPS = {"error": "error of the source on an exact gradient", "secant_error": "error of the secant there"}


def report_page(run_dir: Path, symmetric: bool = False, notes: tuple[str, ...] = ()) -> Path:
    """Write report.html into the folder of a run, and give its path (local).

    Args:
        symmetric: whether the mirror image of a half model is drawn too.
        notes: said with the warnings.

    Raises:
        InputError: the folder has no readable history or result.
        StorageError: the page could not be written.
    """
    history = read_history(run_dir / "history.csv")
    result = _result(run_dir / "result.json")
    before, after = _log(run_dir / "log.txt")
    warnings = [*notes, *(line for line in [*before, *after] if line.startswith(("warning", "constraint not met")))]
    with tempfile.TemporaryDirectory() as folder:
        album = Path(folder)
        try:
            draw_album(run_dir, album, symmetric)
        except MorphoError as error:
            warnings.append(f"the pictures could not be drawn: {error}")
        views = [(path.stem.removeprefix("view_"), embedded(path)) for path in sorted(album.glob("view_*.png"))]
        stages = [(int(path.stem.removeprefix("stage_")), embedded(path)) for path in sorted(album.glob("stage_*.png"))]
        part = _packed(album / "part.npz") if (album / "part.npz").is_file() else None
    output = run_dir / "report.html"
    write_page(
        output,
        "report.html",
        name=str(result.get("name", run_dir.name)),
        message=str(result.get("message", "The run has not ended.")),
        feasible=bool(result.get("feasible", True)),
        figures=_figures(result, history),
        responses=_responses(result),
        built=_built(result),
        views=views,
        stages=stages,
        part=part,
        viewer=(TEMPLATES / "viewer.js").read_text(encoding="utf-8"),
        curves=_curves(history, result),
        parameters=_continuation(history),
        errors=_errors(history),
        times=_times(result, history),
        understood=before,
        last=after[-LINES:],
        warnings=list(dict.fromkeys(warnings)),
        problem=_text(run_dir / "problem.yaml"),
    )
    return output


def _result(path: Path) -> dict[str, Any]:
    """result.json, nothing where the run has not ended."""
    if not path.exists():
        return {}
    try:
        found = json.loads(_text(path))
    except ValueError as error:
        raise InputError(f"{path}: is damaged ({error}).") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: is no result of a run.")
    return found


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(TEXT)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None


def _log(path: Path) -> tuple[list[str], list[str]]:
    """The lines before the first iteration and those after, of the last start of the run."""
    lines = _text(path).splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("morpho ")]
    lines = lines[starts[-1] :] if starts else lines
    first = next((i for i, line in enumerate(lines) if line.startswith("it ")), len(lines))
    return lines[:first], lines[first:]


def _number(value: Any, digits: str = ".6g") -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
    return format(value, digits) if is_number else ""


def _figures(result: dict[str, Any], history: dict[str, NDArray]) -> list[tuple[str, str]]:
    found = [
        ("objective", _number(result.get("objective"))),
        ("volume fraction", _number(result.get("volume"), ".4f")),
        ("iterations", _number(result.get("iterations", len(history["iteration"])))),
        ("exact solves", _number(result.get("exact_solves"))),
        ("seconds", _number(result.get("wall_seconds"), ".1f")),
        ("cells", _number(result.get("n_cells"), ",")),
        ("unknowns", _number(result.get("n_dofs"), ",")),
        ("ranks", _number(result.get("ranks"))),
        ("gradient source", str(result.get("source", ""))),
    ]
    return [(title, text) for title, text in found if text]


def _responses(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    found = result.get("responses")
    return [
        (
            name,
            _number(one.get("value")),
            f"{'at least' if one.get('at_least') else 'at most'} {_number(one.get('limit'))}",
            bool(one.get("feasible")),
        )
        for name, one in (found.items() if isinstance(found, dict) else ())
        if isinstance(one, dict)
    ]


def _built(result: dict[str, Any]) -> dict[str, Any] | None:
    """The figures of the part as built beside those of the design."""
    built = result.get("as_built")
    if not isinstance(built, dict):
        return None
    rows = [
        ("objective", _number(result.get("objective")), _number(built.get("objective"))),
        ("volume fraction", _number(result.get("volume"), ".4f"), _number(built.get("volume"), ".4f")),
    ]
    titles = {
        "compliance": "compliance",
        "displacement": "largest displacement",
        "von_mises": "highest von Mises",
        "von_mises_away": "highest von Mises away from loads and supports",
    }
    own = {"compliance": result.get("compliance") or {}, "von_mises": result.get("von_mises") or {}}
    for case, figures in (built.get("cases") or {}).items():
        for key, title in titles.items():
            if key in figures:
                rows.append((f"{title}, {case}", _number(own.get(key, {}).get(case)), _number(figures[key])))
    return {"rows": rows, "pieces": built.get("pieces")}


def _curves(history: dict[str, NDArray], result: dict[str, Any]) -> list[str]:
    """The objective, every response with its limit, volume, greyness and change."""
    exact = (history["kind"] == "exact") | (history["step"] == "correction")
    limits = result.get("responses") if isinstance(result.get("responses"), dict) else {}
    assert isinstance(limits, dict)
    names = ["objective", *(name for name in history if name not in COLUMNS), "volume", "greyness", "change"]
    out = []
    for name in names:
        if name in history and np.isfinite(history[name]).any():
            limit = limits.get(name, {}).get("limit")
            marks = exact if name == "objective" else None
            out.append(curve(_TITLES.get(name, name), history["iteration"], history[name], limit, marks))
    return out


def _continuation(history: dict[str, NDArray]) -> list[str]:
    return [
        curve(title, history["iteration"], history[name])
        for name, title in _PARAMETERS.items()
        if name in history and np.isfinite(history[name]).any() and np.ptp(history[name]) > 0
    ]


def _errors(history: dict[str, NDArray]) -> list[str]:
    out = []
    for name, title in _STEPS.items():
        known = np.isfinite(history[name]) if name in history else np.zeros(0, bool)
        if known.any():
            out.append(curve(title, history["iteration"][known], history[name][known]))
    return out


def _times(result: dict[str, Any], history: dict[str, NDArray]) -> list[tuple[str, str, float]]:
    """Where the time went, and the memory: title, text, share."""
    exact = history["kind"] == "exact"
    seconds = history["seconds"]
    total = result.get("wall_seconds")
    whole = float(total) if isinstance(total, int | float) else float(seconds.sum())
    parts = [("set-up", float(result.get("setup_seconds") or 0.0))]
    parts += [("iterations with an exact gradient", float(seconds[exact].sum()))]
    parts += [("iterations with an estimated gradient", float(seconds[~exact].sum()))]
    parts += [("output and the rest", max(0.0, whole - sum(value for _, value in parts)))]
    rows = [(title, f"{value:.1f} s", value / whole if whole else 0.0) for title, value in parts if value > 0]
    memory = result.get("peak_rss_bytes")
    if isinstance(memory, int | float):
        ranks = int(result.get("ranks") or 1)
        rows.append((f"memory, {ranks} rank{'s' * (ranks > 1)} together", f"{memory / 1e9:.2f} GB", 0.0))
    return rows


def _packed(path: Path) -> dict[str, Any]:
    """A surface as text: coordinates in 65,535ths of the largest extent, and the corners of the triangles."""
    with np.load(path) as stored:
        points, triangles = stored["points"], stored["triangles"]
    low = points.min(axis=0)
    size = float(np.ptp(points, axis=0).max()) or 1.0
    scaled = np.rint((points - low) / size * 65535).astype("<u2")
    extent = (np.ptp(points, axis=0) / size).tolist()
    encoded = {"points": scaled, "triangles": triangles.astype("<u4")}
    texts = {name: base64.b64encode(values.tobytes()).decode() for name, values in encoded.items()}
    return texts | {"extent": extent, "count": len(triangles)}
