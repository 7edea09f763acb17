"""Pages of HTML that hold all they show: no server, no network."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from morpho import __version__
from morpho.errors import InputError, StorageError
from morpho.results.run_folder import check_target

TEMPLATES = Path(__file__).parent / "templates"


def write_page(output: Path, template: str, **values: Any) -> None:
    """Fill in a template and write it (local).

    Raises:
        InputError: a link or a folder is in its place.
        StorageError: it could not be written.
    """
    import jinja2

    check_target(output)
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.get_template(template).render(version=__version__, **values)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"Could not write {output}: {error.strerror}.") from error


def embedded(picture: Path) -> str:
    """A PNG as text that stands for it in a page (local)."""
    try:
        return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
    except OSError as error:
        raise InputError(f"{picture}: cannot be read ({error.strerror}).") from None
