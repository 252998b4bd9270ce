"""`sessions`: sockets beside those of the users, and what is done to sockets."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from comfysoak_core.scenario.quantities import Rate, Ratio, Seconds
from comfysoak_core.scenario.sessions import ReconnectOrder, Reconnects, Sessions, Stalled
from comfysoak_core.scenario.written.section import Section, Span

WATCHERS_MOST = 1_000_000
CHURN_MOST_PER_S = 1000.0


class StalledSection(Section):
    """Clients that read nothing for a while, as a background tab that is suspended."""

    sockets: int = Field(1, ge=1, le=1000, description="how many", examples=[1])
    reads_nothing_for: Seconds = Field(30.0, gt=0, description="how long each reads nothing", examples=["30s"])
    after: Seconds = Field(0.0, ge=0, description="the first time, from the start of load", examples=["1m"])
    every: Seconds | None = Field(None, gt=0, description="and again so often; default: once", examples=["5m"])
    then: Literal["read", "close"] = Field("read", description="what it does afterwards: go on reading, or close")
    sends: str | None = Field(
        None,
        description="the name of a workload: a prompt of it as it stalls, so that previews and results are sent to it",
        examples=["sdxl"],
    )

    @model_validator(mode="after")
    def _ends_before_the_next(self) -> Self:
        if self.every is not None and self.every <= self.reads_nothing_for:
            raise ValueError("expected `every` to be longer than `reads_nothing_for`")
        return self


class ReconnectSection(Section):
    """Sockets that are exchanged for others with the same client id, in mid run."""

    every: Seconds = Field(gt=0, description="from one time to the next", examples=["1m"])
    share: Ratio = Field(1.0, gt=0, description="of the open sockets of users and watchers", examples=["10%"])
    order: ReconnectOrder | Literal["both"] = Field(
        ReconnectOrder.CLOSE_FIRST,
        description="close-first; open-first, after which a server forgets the new socket; or both in turn",
        examples=["both"],
    )


class SessionsSection(Section):
    """Sockets beside those of the users."""

    watchers: int = Field(0, ge=0, le=WATCHERS_MOST, description="sockets that only listen", examples=[50])
    churn: Rate = Field(
        0.0, ge=0, le=CHURN_MOST_PER_S, description="sockets opened each second, and closed again", examples=["5/s"]
    )
    stays: Span = Field((1.0, 10.0), description="how long each of those is open", examples=["1s..10s"])
    stalled: StalledSection | None = Field(
        None,
        description="clients that read nothing for a while",
        examples=[{"reads_nothing_for": "30s", "after": "1m"}],
    )
    reconnect: ReconnectSection | None = Field(
        None,
        description="sockets exchanged for others with the same client id",
        examples=[{"every": "1m", "share": "10%"}],
    )

    def resolved(self) -> Sessions:
        """As the plan has it."""
        stalled, reconnect = self.stalled, self.reconnect
        return Sessions(
            watchers=self.watchers,
            churn_per_s=self.churn,
            stays_s=self.stays,
            stalled=None if stalled is None else Stalled(
                sockets=stalled.sockets,
                reads_nothing_for_s=stalled.reads_nothing_for,
                after_s=stalled.after,
                every_s=stalled.every,
                then=stalled.then,
                sends=stalled.sends,
            ),
            reconnects=None if reconnect is None else Reconnects(
                every_s=reconnect.every,
                share=reconnect.share,
                order=None if reconnect.order == "both" else ReconnectOrder(reconnect.order),
            ),
        )  # fmt: skip
