"""What may be kept of command lines, URLs and settings."""

from __future__ import annotations

import pytest

from comfysoak_core.recording.redaction import (
    SECRET_VARIABLES,
    hide_value_of,
    known_secrets,
    redact,
    redact_argv,
    redact_json,
)


@pytest.mark.parametrize(
    "text",
    [
        "http://user:S3CRET@gpu-1:8188/prompt",
        "https://S3CRET@host/",
        "http://user:pass@S3CRET@host/",
        "ws://host/ws?clientId=1&token=S3CRET&x=1",
        "https://host/?api_key=S3CRET#frag",
        "main.py --api-key S3CRET --port 8188",
        "main.py --api-key=S3CRET",
        "main.py --hf-token 'S3CRET and more'",
        'main.py --password "S3CRET"',
        "HF_TOKEN=S3CRET python main.py",
        "COMFY_API_KEY=S3CRET",
        "Authorization: Bearer S3CRETabc123456",
        "Authorization: Basic S3CRET==",
        "curl -H 'X-Api-Key: S3CRET'",
        "told: bearer S3CRET1234567",
        '{"secret": "S3CRET", "a": 1}',
        "{'auth_token': 'S3CRET'}",
        "Cookie: session=S3CRET; other=S3CRET",
        "aws_secret_access_key = S3CRET",
        "APIKEY=S3CRET",
    ],
)
def test_secrets_go(text: str) -> None:
    """A secret does not survive, whatever shape it stands in."""
    assert "S3CRET" not in redact(text)
    assert "[redacted]" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://gpu-1:8188/prompt?clientId=abc",
        "main.py --listen 0.0.0.0 --port 8188 --lowvram",
        "a monkey=happy in the jungle",
        "a ring bearer standing in the snow",
        "token_normalization=none",
        "max_tokens: 77",
        "the key to the city",
        "me@example.org",
        "C:\\ComfyUI\\models\\sdxl.safetensors",
        "--tokenizer clip-l",
        "",
    ],
)
def test_the_rest_stays(text: str) -> None:
    """What is no secret is kept word for word."""
    assert redact(text) == text


def test_redacting_twice_changes_nothing() -> None:
    """Redacted text passes through again unharmed."""
    once = redact("http://u:p@h --token abc KEY=1 Authorization: Bearer abcdef123456")
    assert redact(once) == once


def test_the_word_after_a_secret_option_goes() -> None:
    """In a list of words the value of `--api-key` is a word of its own."""
    words = ["main.py", "--api-key", "S3CRET", "--token", "--port", "8188", "--password=S3CRET"]
    assert redact_argv(words) == (
        "main.py", "--api-key", "[redacted]", "--token", "--port", "8188", "--password=[redacted]",
    )  # fmt: skip


def test_json_keeps_its_shape() -> None:
    """Only texts under a secret's name go, and those in which a secret stands; numbers stay."""
    given = {
        "api_key": "S3CRET",
        "max_tokens": 77,
        "tokens": 5,
        "api_key_env": "MY_VARIABLE",
        "servers": [{"url": "http://u:S3CRET@h", "argv": ["x", "--token", "S3CRET"]}],
        "empty": {"password": ""},
        "nothing": None,
    }
    assert redact_json(given) == {
        "api_key": "[redacted]",
        "max_tokens": 77,
        "tokens": 5,
        "api_key_env": "MY_VARIABLE",
        "servers": [{"url": "http://[redacted]@h", "argv": ["x", "--token", "[redacted]"]}],
        "empty": {"password": ""},
        "nothing": None,
    }


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("no entry for Zq7xVw9Kt3Lm5", "no entry for [redacted]"),
        ("twice: Zq7xVw9Kt3Lm5, Zq7xVw9Kt3Lm5.", "twice: [redacted], [redacted]."),
        ("cut off: Zq7xVw9Kt3…", "cut off: [redacted]…"),
        ("something else: Zq7xVw", "something else: Zq7xVw"),
    ],
)
def test_a_value_that_is_known_to_be_secret_goes(monkeypatch: pytest.MonkeyPatch, text: str, kept: str) -> None:
    """Whatever stands before it, whole or cut off; a beginning that tells nothing stays."""
    monkeypatch.setenv("SOAK_TOKEN", "Zq7xVw9Kt3Lm5")
    monkeypatch.setenv(SECRET_VARIABLES, "")
    assert redact(text) == text
    hide_value_of("SOAK_TOKEN")
    assert known_secrets() == ("Zq7xVw9Kt3Lm5",)
    assert redact(text) == kept
