"""What users do beside sending a prompt and waiting for it: parts of a workload that are about people, not graphs."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from comfysoak_core.comfyui.mistakes import KINDS
from comfysoak_core.scenario.quantities import Ratio, Seconds, parse_ratio
from comfysoak_core.scenario.written.section import Section, Span, as_list

_SIZE = re.compile(r"(\d{1,5})\s*x\s*(\d{1,5})")
MOST_PIXELS = 64 * 1024 * 1024
MOST_AGAIN = 100

BatchSize = Annotated[int, Field(ge=1, le=4096)]


def as_share(value: object) -> object:
    """`true` for all, `false` for none, or a share."""
    return float(value) if isinstance(value, bool) else parse_ratio(value)  # type: ignore[arg-type]  # refuses others


def _check_kind(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"there is no mistake {kind!r}; there are: {', '.join(KINDS)}")
    return kind


def _as_mistakes(value: object) -> object:
    return value if value is None or isinstance(value, dict) else {"share": value}


def _as_batch(value: object) -> object:
    if value is None or isinstance(value, dict):
        return value
    return {"sizes": value if isinstance(value, list | tuple) else [value]}


def as_uploads(value: object) -> object:
    """One upload as a list of one."""
    return [value] if isinstance(value, dict) else value


def _as_size(value: object) -> object:
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return value
    width, height = int(match[1]), int(match[2])
    if not 0 < width * height <= MOST_PIXELS:
        raise ValueError(f"expected between 1 and {MOST_PIXELS} pixels, got {value!r}")
    return width, height


_SizeText = Annotated[str, Field(pattern=rf"^\s*{_SIZE.pattern}\s*$")]

Kind = Annotated[str, AfterValidator(_check_kind), Field(json_schema_extra={"enum": list(KINDS)})]
Size = Annotated[tuple[int, int], BeforeValidator(_as_size, json_schema_input_type=_SizeText | tuple[int, int])]


class CancelSection(Section):
    """A share of the prompts is taken back: deleted while it waits, interrupted while it runs."""

    share: Ratio = Field(gt=0, description="how many of the prompts", examples=["10%"])
    after: Span = Field(description="how long after it was due", examples=["1s..5s"])
    within: Seconds = Field(60.0, gt=0, description="a prompt that lasts longer after that hangs", examples=["60s"])


class GiveUpSection(Section):
    """Users who wait no longer than that, and send the prompt again."""

    after: Span = Field(description="how long a user waits", examples=["30s"])
    again: int = Field(0, ge=0, le=MOST_AGAIN, description="how often the user sends it again", examples=[2])
    withdraw: bool = Field(default=False, description="whether the prompt is taken back from the server")
    within: Seconds = Field(60.0, gt=0, description="a prompt that lasts longer after that hangs", examples=["60s"])


class MistakesSection(Section):
    """A share of the prompts carries a mistake that the server is to refuse."""

    share: Ratio = Field(gt=0, description="how many of the prompts", examples=["5%"])
    kinds: tuple[Kind, ...] = Field(
        (), description="which mistakes; default: all that fit the workflow", examples=[["missing-input", "bad-type"]]
    )


class BatchSection(Section):
    """How many pictures a prompt makes at once."""

    sizes: tuple[BatchSize, ...] = Field(min_length=1, examples=[[1, 2, 4]])
    input: str | None = Field(None, description="the input that says it; default: found", examples=["7.amount"])


class UploadSection(Section):
    """A picture that is uploaded, and loaded by a node of the workflow."""

    input: str = Field(description="the input that takes the picture's name", examples=["10.image"])
    files: Annotated[tuple[str, ...], BeforeValidator(as_list, json_schema_input_type=str | tuple[str, ...])] = Field(
        (), description="pictures, or folders of pictures; default: one is made", examples=["pictures/"]
    )
    each: Literal["once", "prompt"] = Field(
        "once", description="uploaded once, or for each prompt with new content", examples=["prompt"]
    )
    size: Size | None = Field(
        None, description="of the picture that is made where no files are given", examples=["512x512"]
    )

    @model_validator(mode="after")
    def _files_or_size(self) -> Self:
        if self.files and self.size:
            raise ValueError("expected files or size, not both: pictures from files have their own size")
        return self


Share = Annotated[float, BeforeValidator(as_share, json_schema_input_type=bool | Ratio)]
Mistakes = Annotated[MistakesSection, BeforeValidator(_as_mistakes, json_schema_input_type=Ratio | MistakesSection)]
Batch = Annotated[
    BatchSection, BeforeValidator(_as_batch, json_schema_input_type=BatchSize | tuple[BatchSize, ...] | BatchSection)
]
Uploads = Annotated[
    tuple[UploadSection, ...],
    BeforeValidator(as_uploads, json_schema_input_type=UploadSection | tuple[UploadSection, ...]),
]
