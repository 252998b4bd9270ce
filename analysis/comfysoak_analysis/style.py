"""What all pages of ours share: colours, type, and templates in which text stays text."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from comfysoak_analysis.text import bounded, for_page

_HERE = Path(__file__).parent
TEMPLATES = _HERE / "templates"
ASSETS = _HERE / "assets"
FONT = ASSETS / "inter-latin.woff2"


def environment() -> Environment:
    """Templates that escape what is put into them; a name that is not there is an error."""
    made = Environment(
        autoescape=True,
        finalize=lambda value: for_page(value) if type(value) is str else value,  # Markup is ours and stays
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"bounded": bounded}
    return made


def css() -> Markup:
    """The classes that `page.css` lists at its head."""
    return Markup((TEMPLATES / "page.css").read_text(encoding="utf-8"))  # noqa: S704  # ours


def font() -> Markup:
    """The type pages are set in, so that they look the same everywhere; other scripts fall back to the system's."""
    encoded = base64.b64encode(FONT.read_bytes()).decode()
    return Markup(  # noqa: S704  # base64
        '@font-face{font-family:"ComfySoak Inter";font-weight:100 900;font-display:block;'
        f"src:url(data:font/woff2;base64,{encoded}) format('woff2')}}"
    )
