"""What a check is about: read from options, env file and environment, each with its source; secrets stay hidden."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from comfysoak.check.env_file import parse_env
from comfysoak.check.parts.configuration.variables import are_readable, is_set
from comfysoak.check.settings import Given, Options, settings_from
from comfysoak_core.errors import UsageError
from comfysoak_core.recording.redaction import HIDDEN, SECRET_VARIABLES, redact

KEY = "sk-nobodys-key-0123456789"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No secrets left over from another test."""
    monkeypatch.setenv(SECRET_VARIABLES, "")
    for name in ("COMFYUI_API_KEY", "PLATFORM_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=x", "x"),
        ("export A = x  # a comment", "x"),
        ("A=http://a#b", "http://a#b"),
        ("A='it\\'s # no comment'", "it's # no comment"),
        ('A="a\\nb \\"c\\"" # gone', 'a\nb "c"'),
        ("A='{\n \"1\": {}\n}'", '{\n "1": {}\n}'),
        ('A={"1": {"x": "y # cut"}}', '{"1": {"x": "y'),
        ("B=1\nA=${B}${C:-2}", "12"),
        ("B=1\nA='${B}'", "${B}"),
        ("A=1\r\nA=2\r\n", "2"),
        ("\ufeffA=1".removeprefix("\ufeff"), "1"),
        ("A=", ""),
    ],
)
def test_values_of_an_env_file(text: str, value: str) -> None:
    """Quotes, comments, several lines, references: as Compose and python-dotenv read them."""
    assigned, unread = parse_env(text, {})
    assert assigned["A"][0] == value
    assert not unread


def test_lines_of_an_env_file_that_are_no_assignment() -> None:
    """JSON over several lines without quotes is one line of JSON, and lines that mean nothing."""
    assigned, unread = parse_env('A={\n  "1": {}\n}\nB=2\nC="never closed\n', {})
    assert assigned == {"A": ("{", 1), "B": ("2", 4)}
    assert [line.number for line in unread] == [2, 3, 5]


@pytest.mark.parametrize(
    ("line", "name", "remedy"),
    [
        ("COMFYUI_API_KEY: hunter2swordfish", "COMFYUI_API_KEY", "NAME=value"),
        ("- COMFYUI_API_KEY=hunter2swordfish", "COMFYUI_API_KEY", "dash"),
        ('export COMFYUI_API_KEY="hunter2swordfish', "COMFYUI_API_KEY", "single quotes"),
        ("COMFYUI_API_KEY='hunter2's", "COMFYUI_API_KEY", r"\\u0027"),
        ('DB_PASS "hunter2swordfish"', "", "single quotes"),
    ],
)
def test_a_line_that_is_no_assignment_is_told_by_its_flaw_and_never_by_its_text(
    tmp_path: Path, line: str, name: str, remedy: str
) -> None:
    """What stands there may be a secret; its name and what to write instead are enough."""
    path = tmp_path / ".env"
    path.write_text(f"COMFYUI_BASE_URL=http://a:1\n{line}\n", encoding="utf-8")
    settings = settings_from({}, Options(env_file=path))
    (unread,) = settings.unread_lines
    assert (unread.number, unread.name) == (2, name)
    row = are_readable(settings)
    assert "hunter2" not in row.seen + row.remedy
    assert re.search(remedy, row.remedy)


@pytest.mark.parametrize(
    "broken", ['COMFYUI_WORKFLOW="{"1": {}}"', "COMFYUI_WORKFLOW: '{}'", "- COMFYUI_WORKFLOW='{}'"]
)
def test_a_line_that_leaves_a_variable_unset_is_told_by_one_row(tmp_path: Path, broken: str) -> None:
    """variables.set names the line and how to write it; variables.values has nothing to add."""
    path = tmp_path / ".env"
    path.write_text(f"COMFYUI_BASE_URL=http://a:1\nCOMFYUI_WORKFLOW_NODES='[]'\n{broken}\n", encoding="utf-8")
    settings = settings_from({}, Options(env_file=path))
    row = is_set(settings, None)
    assert (row.state, f"{path}:3" in row.seen, row.remedy) == ("failed", True, settings.unread_lines[0].remedy)
    assert are_readable(settings).state == "skipped"


def test_json_over_several_lines_without_quotes_is_told_by_its_own_row_alone(tmp_path: Path) -> None:
    """The lines behind the first are one mistake with the value that ends too early."""
    path = tmp_path / ".env"
    path.write_text('COMFYUI_WORKFLOW={\n  "1": {}\n}\n', encoding="utf-8")
    settings = settings_from({}, Options(env_file=path))
    assert len(settings.unread_lines) == 2
    assert are_readable(settings).state == "skipped"


def test_an_option_wins_over_the_env_file_and_that_over_the_environment(tmp_path: Path) -> None:
    """Each value says where it came from."""
    (tmp_path / ".env").write_text("COMFYUI_BASE_URL=http://file:1\nCOMFYUI_WORKFLOW='{}'\n", encoding="utf-8")
    (tmp_path / "w.json").write_text('{"1": {}}', encoding="utf-8")
    variables = {"COMFYUI_BASE_URL": "http://here:1", "COMFYUI_WORKFLOW_NODES": "[]"}
    env_file = tmp_path / ".env"
    read = settings_from(variables, Options(env_file=env_file))
    assert read.base_url == Given("http://file:1", f"{env_file}:1")
    assert read.workflow == Given("{}", f"{env_file}:2")
    assert read.nodes == Given("[]", "the environment")
    named = settings_from(variables, Options(target="http://said:1", env_file=env_file, workflow=tmp_path / "w.json"))
    assert named.base_url == Given("http://said:1", "the command line")
    assert named.workflow == Given('{"1": {}}', str(tmp_path / "w.json"))
    assert named.variables["COMFYUI_BASE_URL"].value == "http://file:1"


def test_a_key_of_the_env_file_is_put_where_secrets_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in the environment under its name, in no setting, and in no text that is told."""
    (tmp_path / ".env").write_text(f"COMFYUI_API_KEY={KEY}\n", encoding="utf-8")
    monkeypatch.setenv("COMFYUI_API_KEY", "")
    read = settings_from(os.environ, Options(env_file=tmp_path / ".env"))
    assert read.api_key_variable == "COMFYUI_API_KEY"
    assert os.environ["COMFYUI_API_KEY"] == KEY
    assert read.variables["COMFYUI_API_KEY"].value == HIDDEN
    assert KEY not in repr(read)
    assert KEY not in redact(f"it said {KEY}")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (Options(env_file=Path("nowhere.env")), "cannot be read"),
        (Options(workflow=Path("nowhere.json")), "cannot be read"),
        (Options(gateway="platform:80"), "--gateway"),
        (Options(gateway="http://platform", api="nobody"), "is not known"),
        (Options(gateway="http://platform", token_variable="PLATFORM_TOKEN"), "PLATFORM_TOKEN, which is not set"),
        (Options(api="openai"), "none is named"),
        (Options(hold="soon"), "--hold"),
        (Options(api_key_variable="NOT_SET"), "NOT_SET, which is not set"),
    ],
)
def test_a_call_that_cannot_be_understood(options: Options, says: str) -> None:
    """It is refused in one sentence that names the option."""
    with pytest.raises(UsageError, match=says):
        settings_from({}, options)
