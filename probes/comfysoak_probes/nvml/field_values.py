"""Many fields of a GPU in one call, each with a return code and a type of its own (nvmlDeviceGetFieldValues)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pynvml

from comfysoak_core.value import value
from comfysoak_probes.nvml.binding import read_field_values
from comfysoak_probes.nvml.driver import DriverError, Fault
from comfysoak_probes.nvml.fields import Fields, lasts

ALL_LINKS: Final = 0xFFFFFFFF  # as a scope: the sum over all NVLinks

# By the type that came with a value, its name in the union.
MEMBERS: Final = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_SHORT: "usVal",
}


@value()
class Wanted:
    """A field to ask for, and the column that its reason is noted for; "" when the caller tells the reason."""

    column: str
    field: int
    scope: int = 0


class FieldValues:
    """Asks for several fields at once; those that this GPU lacks are asked for once."""

    def __init__(self, fields: Fields, wanted: Sequence[Wanted], *, ask: bool = True) -> None:
        """Without `ask` none is ever asked for."""
        self._fields = fields
        self._wanted = tuple(wanted)
        self._live = list(range(len(wanted) if ask else 0))
        self._values = self._structures()

    def _structures(self) -> Any:  # an array of ctypes
        values = (pynvml.c_nvmlFieldValue_t * len(self._live))()
        for structure, place in zip(values, self._live, strict=True):
            structure.fieldId = self._wanted[place].field
            structure.scopeId = self._wanted[place].scope
        return values

    def read(self) -> list[float | None]:
        """The values, in the order they were wanted in. Raises DriverError when the whole GPU is gone."""
        found: list[float | None] = [None] * len(self._wanted)
        if not self._live:
            return found
        try:
            self._fields.gpu.ask(read_field_values, self._values)
        except DriverError as error:
            self._refused(dict.fromkeys(self._live, error))
            return found
        errors: dict[int, DriverError] = {}
        for structure, place in zip(self._values, self._live, strict=True):
            code = structure.nvmlReturn
            if code == pynvml.NVML_SUCCESS:
                found[place] = getattr(structure.value, MEMBERS.get(structure.valueType, "ullVal"))
                self._fields.clear(self._wanted[place].column)
            else:
                errors[place] = DriverError(code)
        if errors:
            self._refused(errors)
        return found

    def _refused(self, errors: dict[int, DriverError]) -> None:
        """Note why, and drop those fields that will never have a value."""
        if all(error.fault is Fault.UNKNOWN for error in errors.values()) and len(errors) == len(self._live):
            self._fields.refuse("", next(iter(errors.values())))
        dead = set()
        for place, error in errors.items():
            if error.fault is Fault.UNKNOWN:  # of this field alone
                self._fields.note(self._wanted[place].column, str(error))
                continue
            self._fields.refuse(self._wanted[place].column, error)
            if lasts(error):
                dead.add(place)
        if dead:
            self._live = [place for place in self._live if place not in dead]
            self._values = self._structures()
