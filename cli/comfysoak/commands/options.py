"""Values of options, checked as the scenario checks them."""

from __future__ import annotations

import click

from comfysoak_core.scenario.units import parse_duration


def as_url(text: str, option: str) -> str:
    """An http(s) address without a trailing slash; click.BadParameter names the option when it is none."""
    from comfysoak_core.scenario.address import check_url

    try:
        return check_url(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def as_seconds(text: str, option: str) -> float:
    """Seconds of a duration above zero; click.BadParameter names the option when it is none."""
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None
    if seconds <= 0:
        raise click.BadParameter(f"expected a duration above zero, got {text!r}", param_hint=option)
    return seconds
