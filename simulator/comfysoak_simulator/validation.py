"""What POST /prompt refuses, and in which words: validation against the node classes the server knows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from comfysoak_core.comfyui.node_classes import Input, NodeClass, fits
from comfysoak_core.scenario.embedded import Version
from comfysoak_simulator.catalogue import Catalogue

Json = Any
LONGEST_LIST_TOLD = 20
_NUMBERS: dict[str, Callable[[Json], Json]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a prompt: `error` None means accepted, for the sake of the output nodes `outputs`."""

    error: dict[str, Json] | None
    outputs: list[str]
    node_errors: dict[str, Json]


def error(kind: str, message: str, details: str, **extra: Json) -> dict[str, Json]:
    """An error as answers hold it."""
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


def replace_old_classes(prompt: dict[str, Json], catalogue: Catalogue) -> None:
    """Exchange classes that are no longer there for their successors, in place, as 0.33 does.

    KeyError for such a node without `_meta`, as there.
    """
    for node in prompt.values():
        name = node.get("class_type")
        successors = catalogue.replacements.get(name) if isinstance(name, str) else None
        if successors and catalogue.get(name) is None:
            node["_meta"]["title"] = node["_meta"].get("title", name)
            _replace(node, successors[0])


def _replace(node: dict[str, Json], successor: dict[str, Json]) -> None:
    old = node["inputs"]
    node["class_type"] = successor["new_node_id"]
    node["inputs"] = {
        item["new_id"]: item["set_value"] if "set_value" in item else old[item["old_id"]]
        for item in successor["input_mapping"] or ()
        if "set_value" in item or item["old_id"] in old
    }


@dataclass
class _Checked:
    """What is known of a node so far; `errors` are its own."""

    valid: bool = True
    errors: list[dict[str, Json]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a server checks against; `newer` is 0.33, `input_exists` knows the files LoadImage may name."""

    catalogue: Catalogue
    newer: bool
    input_exists: Callable[[str], bool]

    def class_of(self, node: dict[str, Json]) -> NodeClass:
        return self.catalogue.classes[node["class_type"]]

    def checks_choices(self, spec: Input) -> bool:
        """0.3.64 looks at lists declared in the older style only."""
        return spec.choices is not None and (self.newer or not spec.newer_choices)


class Validator:
    """Checks prompts for one server; `input_exists` knows the files LoadImage may name."""

    def __init__(self, catalogue: Catalogue, version: Version, input_exists: Callable[[str], bool]) -> None:
        self._rules = _Rules(catalogue, version == "0.33.0", input_exists)

    def check(self, prompt: Json, targets: Collection[str] | None) -> Verdict:
        """The verdict on a prompt; converts its values in place, as ComfyUI does.

        `targets` are the output nodes to run, None for all. What makes ComfyUI's own code raise raises here too
        (TypeError, KeyError, AttributeError): the answer to it is a 500.
        """
        outputs = []
        for node_id in prompt:
            node = prompt[node_id]
            refusal = self._class_error(node_id, node)
            if refusal is not None:
                return Verdict(refusal, [], {})
            if self._rules.class_of(node).is_output and (targets is None or node_id in targets):
                outputs.append(node_id)
        if not outputs:
            return Verdict(error("prompt_no_outputs", "Prompt has no outputs", ""), [], {})
        return self._check_outputs(prompt, outputs)

    def _class_error(self, node_id: str, node: Json) -> dict[str, Json] | None:
        if self._rules.newer and not isinstance(node, dict):
            raise TypeError("a node that is no object")
        where = f"Node ID '#{node_id}'"
        named = "class_type" in node
        if named and self._rules.catalogue.get(node["class_type"]) is not None:
            return None
        if not self._rules.newer:
            message = (
                f"Cannot execute because node {node['class_type']} does not exist."
                if named
                else "Cannot execute because a node is missing the class_type property."
            )
            return error("invalid_prompt", message, where)
        title = node.get("_meta", {}).get("title", node.get("class_type"))
        if named:
            message = f"Node '{title}' not found. The custom node may not be installed."
        else:
            complaint = "has no class_type. The workflow may be corrupted or a custom node is missing."
            message = f"Node 'ID #{node_id}' {complaint}"
        return error(
            "missing_node_type", message, where, node_id=node_id, class_type=node.get("class_type"), node_title=title
        )

    def _check_outputs(self, prompt: dict[str, Json], outputs: list[str]) -> Verdict:
        good: list[str] = []
        details: list[str] = []
        node_errors: dict[str, Json] = {}
        known: dict[str, _Checked] = {}
        for output in outputs:
            checked = self._check_output(prompt, output, known)
            if checked.valid:
                good.append(output)
                continue
            details += [f"{item['message']}: {item['details']}" for item in checked.errors]
            for node_id, other in known.items():
                if other.errors:
                    entry = node_errors.setdefault(
                        node_id,
                        {"errors": other.errors, "dependent_outputs": [], "class_type": prompt[node_id]["class_type"]},
                    )
                    entry["dependent_outputs"].append(output)
        if good:
            return Verdict(None, good, node_errors)
        message = "Prompt outputs failed validation"
        return Verdict(error("prompt_outputs_failed_validation", message, "\n".join(details)), [], node_errors)

    def _check_output(self, prompt: dict[str, Json], output: str, known: dict[str, _Checked]) -> _Checked:
        walk = _Walk(self._rules, prompt, known)
        try:
            return walk.check(output, ())
        except (LookupError, TypeError, AttributeError) as trouble:
            if self._rules.newer and isinstance(trouble, TypeError | AttributeError):
                raise
            extra = {"exception_type": type(trouble).__name__, "traceback": _traceback("validate_prompt")}
            problem = error("exception_during_validation", "Exception when validating node", str(trouble), **extra)
            known[output] = _Checked(valid=False, errors=[problem])
            return known[output]
        except _CycleError:
            known[output] = _Checked(valid=False)
            return known[output]


class _CycleError(Exception):
    """A chain of links that leads back to itself (0.3.64 has no word for it)."""


class _Walk:
    """The check of one output and all it depends on."""

    def __init__(self, rules: _Rules, prompt: dict[str, Json], known: dict[str, _Checked]) -> None:
        self._rules = rules
        self._prompt = prompt
        self._known = known

    def check(self, node_id: str, above: tuple[str, ...]) -> _Checked:
        known = self._known.get(node_id)
        if known is not None:
            return known
        if node_id in above:
            return self._cycle((*above[above.index(node_id) :],))
        node = self._prompt[node_id]
        inputs = node["inputs"]
        if self._rules.newer and not isinstance(inputs, dict):
            raise TypeError("inputs that are no object")
        node_class = self._rules.class_of(node)
        checked = _Checked()
        for spec in node_class.inputs.values():
            if spec.name in inputs:
                checked.errors += self._check_input(spec, node_class, inputs, checked, (*above, node_id))
            elif spec.required:
                checked.errors.append(
                    error("required_input_missing", "Required input is missing", spec.name, input_name=spec.name)
                )
        if node_id in self._known:  # a cycle was found and told meanwhile
            return self._known[node_id]
        checked.valid = checked.valid and not checked.errors
        self._known[node_id] = checked
        return checked

    def _check_input(
        self, spec: Input, node_class: NodeClass, inputs: dict[str, Json], checked: _Checked, above: tuple[str, ...]
    ) -> Iterator[dict[str, Json]] | list[dict[str, Json]]:
        value = inputs[spec.name]
        if isinstance(value, list):
            return self._check_link(spec, value, checked, above)
        if node_class.name == "LoadImage" and spec.name == "image":
            return self._check_file(spec, value)
        return list(self._check_value(spec, inputs))

    def _check_link(
        self, spec: Input, value: list[Json], checked: _Checked, above: tuple[str, ...]
    ) -> list[dict[str, Json]]:
        if len(value) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return [error("bad_linked_input", message, spec.name, **_about(spec), received_value=value)]
        source, slot = value
        received = self._rules.class_of(self._prompt[source]).outputs[slot]
        if not fits(received, spec.type):
            wanted = spec.declared[0]
            return [
                error(
                    "return_type_mismatch",
                    "Return type mismatch between linked nodes",
                    f"{spec.name}, received_type({received}) mismatch input_type({wanted})",
                    **_about(spec),
                    received_type=received,
                    linked_node=value,
                )
            ]
        try:
            checked.valid = self.check(source, above).valid and checked.valid
        except (LookupError, TypeError) as trouble:
            if self._rules.newer and isinstance(trouble, TypeError):
                raise
            checked.valid = False
            self._known[source] = _Checked(valid=False, errors=[_inner_trouble(spec, value, trouble)])
        return []

    def _check_file(self, spec: Input, value: Json) -> list[dict[str, Json]]:
        if self._rules.input_exists(str(value)):
            return []
        details = f"{spec.name} - Invalid image file: {value}"
        return [error("custom_validation_failed", "Custom validation failed for node", details, input_name=spec.name)]

    def _check_value(self, spec: Input, inputs: dict[str, Json]) -> Iterator[dict[str, Json]]:
        value = inputs[spec.name]
        if isinstance(value, dict) and "__value__" in value:
            value = inputs[spec.name] = value["__value__"]
        convert = _NUMBERS.get(spec.declared[0]) if isinstance(spec.declared[0], str) else None
        if convert is not None:
            try:
                value = inputs[spec.name] = convert(value)
            except (ValueError, TypeError, OverflowError) as trouble:
                yield error(
                    "invalid_input_type",
                    f"Failed to convert an input value to a {spec.type} value",
                    f"{spec.name}, {value}, {trouble}",
                    **_about(spec),
                    received_value=value,
                    exception_message=str(trouble),
                )
                return
        yield from self._check_bounds(spec, value)

    def _check_bounds(self, spec: Input, value: Json) -> Iterator[dict[str, Json]]:
        least, most = spec.settings.get("min"), spec.settings.get("max")
        about = {**_about(spec), "received_value": value}
        if least is not None and value < least:
            yield error("value_smaller_than_min", f"Value {value} smaller than min of {least}", spec.name, **about)
        elif most is not None and value > most:
            yield error("value_bigger_than_max", f"Value {value} bigger than max of {most}", spec.name, **about)
        elif self._rules.checks_choices(spec) and value not in (spec.choices or ()):
            yield self._not_in_list(spec, value, spec.choices or ())

    def _not_in_list(self, spec: Input, value: Json, choices: tuple[Json, ...]) -> dict[str, Json]:
        long = len(choices) > LONGEST_LIST_TOLD
        told = f"(list of length {len(choices)})" if long else str(list(choices))
        quoted = repr(value) if self._rules.newer else f"'{value}'"
        about = {**_about(spec), "received_value": value}
        if long:
            about["input_config"] = None
        elif spec.newer_choices:
            about["input_config"] = ["COMBO", spec.settings]
        return error("value_not_in_list", "Value not in list", f"{spec.name}: {quoted} not in {told}", **about)

    def _cycle(self, cycle: tuple[str, ...]) -> _Checked:
        if not self._rules.newer:
            raise _CycleError
        named = [f"{node_id} ({self._prompt[node_id]['class_type']})" for node_id in (*cycle, cycle[0])]
        for node_id in cycle:
            problem = error(
                "dependency_cycle",
                "Dependency cycle detected",
                " -> ".join(named),
                node_id=node_id,
                cycle_nodes=list(cycle),
            )
            self._known[node_id] = _Checked(valid=False, errors=[problem])
        return self._known[cycle[0]]


def _about(spec: Input) -> dict[str, Json]:
    return {"input_name": spec.name, "input_config": [spec.declared[0], spec.settings]}


def _inner_trouble(spec: Input, link: list[Json], trouble: Exception) -> dict[str, Json]:
    return error(
        "exception_during_inner_validation",
        "Exception when validating inner node",
        str(trouble),
        **_about(spec),
        exception_message=str(trouble),
        exception_type=type(trouble).__name__,
        traceback=_traceback("validate_inputs"),
        linked_node=link,
    )


def _traceback(function: str) -> list[str]:
    return [f'  File "/comfyui/execution.py", line 1, in {function}\n']
