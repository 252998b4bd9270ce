"""`probes` as people write it: sources of GPU samples, and pauses."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from comfysoak_core.scenario.written.probes import ProbesSection

ONE_OF_THEM = "`{probe: http://gpu-2:9410}`, one of them"


def test_every_source_of_gpu_samples() -> None:
    """The driver, an exporter, a probe with its token."""
    probe = {"probe": "http://gpu-2:9410", "token_variable": "PROBE_TOKEN"}
    section = ProbesSection.model_validate({"gpu": ["nvml", {"dcgm": "http://g:9400/metrics"}, probe]})
    assert section.gpu is not None
    assert [(bool(gpu.nvml), gpu.dcgm, gpu.probe, gpu.token_variable) for gpu in section.gpu] == [
        (True, None, None, None),
        (False, "http://g:9400/metrics", None, None),
        (False, None, "http://gpu-2:9410", "PROBE_TOKEN"),
    ]


@pytest.mark.parametrize("written", ["every 10m for 1m", {"every": 600, "for": "60s"}])
def test_a_pause_is_a_sentence_or_keys(written: object) -> None:
    """Both say the same."""
    pause = ProbesSection.model_validate({"pause": written}).pause
    assert pause is not None
    assert (pause.every, pause.lasts) == (600.0, 60.0)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({"gpu": [{}]}, ONE_OF_THEM),
        ({"gpu": [{"nvml": True, "probe": "http://a:1"}]}, ONE_OF_THEM),
        ({"gpu": [{"dcgm": "http://a:1", "token_variable": "T"}]}, "`token_variable` beside `probe` only"),
        ({"pause": "now and then"}, "expected a pause such as 'every 10m for 1m', got 'now and then'"),
        ({"pause": "every 10m for 6m"}, "at most half its period"),
        ({"pause": "every 10m for 1 parsec"}, "expected a pause such as"),
        ({"pause": "every soon for 1m"}, "expected a duration"),
    ],
)
def test_mistakes_are_told_with_what_is_right(written: object, words: str) -> None:
    """Each with an example."""
    with pytest.raises(ValidationError) as told:
        ProbesSection.model_validate(written)
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("written", "log"), [(False, "off"), ("off", "off"), ("socket", "socket"), ("/c.log", "/c.log")]
)
def test_a_bare_off_turns_the_log_off(written: object, log: str) -> None:
    """YAML reads `log: off` as false."""
    assert ProbesSection.model_validate({"log": written}).log == log
