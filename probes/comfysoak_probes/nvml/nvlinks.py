"""The NVLinks of a GPU: how many are up, and how many errors they counted."""

from __future__ import annotations

from typing import Final

import pynvml

from comfysoak_probes.nvml.driver import DriverError
from comfysoak_probes.nvml.field_values import Wanted
from comfysoak_probes.nvml.fields import Fields, lasts

ACTIVE: Final = "nvlinks_active"
ERRORS: Final = "nvlink_errors"
NO_LINKS: Final = "this GPU has no NVLink"

# Of all links together, by chips before Blackwell; and link by link, by those from it on.
TOTALS: Final = (
    pynvml.NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL,
    pynvml.NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL,
    pynvml.NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL,
    pynvml.NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL,
)
BY_LINK: Final = (
    pynvml.NVML_FI_DEV_NVLINK_COUNT_RCV_ERRORS,
    pynvml.NVML_FI_DEV_NVLINK_COUNT_LOCAL_LINK_INTEGRITY_ERRORS,
    pynvml.NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_EVENTS,
)


class NvLinks:
    """Which links a GPU has is found once; links that are down are still there."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self.links: tuple[int, ...] = ()
        self.all_found = False

    def find(self) -> None:
        """Look for the links. Raises DriverError when the whole GPU is gone."""
        self.all_found = True
        if self._fields.gone(ACTIVE):
            return
        self.links = tuple(link for link in range(pynvml.NVML_NVLINK_MAX_LINKS) if self._is_there(link))
        if not self.links and self.all_found:
            self._fields.note(f"{ACTIVE},{ERRORS}", NO_LINKS)

    def _is_there(self, link: int) -> bool:
        try:
            self._state(link)
        except DriverError as error:
            if not lasts(error):
                self.all_found = False  # it may be: to be looked for again
                self._fields.refuse(f"{ACTIVE},{ERRORS}", error)
            return False
        return True

    def _state(self, link: int) -> int:
        return int(self._fields.gpu.ask(pynvml.nvmlDeviceGetNvLinkState, link))

    def active(self) -> int | None:
        """How many are up now; None where there is none. Raises DriverError when the whole GPU is gone."""
        if not self.links or not self.all_found or self._fields.gone(ACTIVE):
            return None
        try:
            active = sum(1 for link in self.links if self._state(link))
        except DriverError as error:
            self._fields.refuse(ACTIVE, error)
            return None
        self._fields.clear(ACTIVE)
        return active

    def wanted(self) -> list[Wanted]:
        """The counters of errors to ask for, among other fields."""
        by_link = [Wanted("", field, link) for link in self.links for field in BY_LINK]
        return [Wanted("", field) for field in TOTALS if self.links] + by_link

    def errors(self, counts: list[float | None]) -> int | None:
        """The sum of what was told for `wanted`, counted since the links came up."""
        if not self.links or not self.all_found:
            return None
        split = len(TOTALS)
        for told in (counts[:split], counts[split:]):
            known = [count for count in told if count is not None]
            if known:
                self._fields.clear(ERRORS)
                return int(sum(known))
        self._fields.note(ERRORS, "the driver tells none of its counters")
        return None
