"""Driving an engine by hand: no sockets, and a clock that goes where the test says."""

from __future__ import annotations

from typing import Any

from comfysoak_core.clock import NS_PER_S, ManualClock
from comfysoak_core.scenario.embedded import Embedded
from comfysoak_core.scenario.faults import FaultBase
from comfysoak_simulator.engine import Engine
from comfysoak_simulator.machine import Machine
from comfysoak_simulator.messages import Message

Json = Any
GIB = 1024**3


class Driven:
    """An engine, its clock, and all it has sent, suffered and noted."""

    def __init__(self, **settings: Json) -> None:
        self.clock = ManualClock()
        self.messages: list[Message] = []
        self.suffered: list[FaultBase] = []
        self.noted: list[str] = []
        embedded = Embedded.model_validate(settings)
        self.machine = Machine.assemble(embedded, 0, self.clock, lambda fault, _subject: self.noted.append(fault.CODE))
        self.engine = Engine(self.machine, self.messages.append, self.suffered.append)

    def submit(self, prompt: dict[str, Json], **more: Json) -> str:
        """Submit a prompt that has to be accepted; its id."""
        status, answer = self.engine.submit({"prompt": prompt, "client_id": "me", **more})
        assert status == 200, answer
        return str(answer["prompt_id"])

    def run(self, seconds: float | None = None) -> None:
        """Let time pass: so many seconds, or until the queue is empty."""
        end_ns = None if seconds is None else self.clock.now_ns() + round(seconds * NS_PER_S)
        while (due_ns := self.engine.advance()) is not None:
            if self.engine.queue.remaining == 0 if end_ns is None else due_ns > end_ns:
                break
            self.clock.set_ns(max(due_ns, self.clock.now_ns()))
        if end_ns is not None:
            self.clock.set_ns(end_ns)
            self.engine.advance()

    def ran(self, prompt: dict[str, Json], **more: Json) -> dict[str, Json]:
        """Submit a prompt and run it to its end; its history entry."""
        prompt_id = self.submit(prompt, **more)
        self.run()
        return self.history(prompt_id)

    def history(self, prompt_id: str) -> dict[str, Json]:
        """What history says of a prompt."""
        entry: dict[str, Json] = self.engine.queue.history[prompt_id]
        return entry

    def sent(self, event: str) -> list[Json]:
        """The data of all messages of a type."""
        return [message.data for message in self.messages if message.event == event]

    @property
    def log(self) -> str:
        """The log as one text."""
        return "".join(line.text for line in self.machine.log.lines)


def took_s(entry: dict[str, Json]) -> float:
    """From start to end of a prompt, by its history."""
    messages = entry["status"]["messages"]
    return float(messages[-1][1]["timestamp"] - messages[0][1]["timestamp"]) / 1000


def end_of(entry: dict[str, Json]) -> dict[str, Json]:
    """The last message of a prompt, by its history, with its type."""
    event, data = entry["status"]["messages"][-1]
    return {"event": event, **data}


def picture_graph(colour: int = 1, side: int = 64) -> dict[str, Json]:
    """A graph that costs nothing."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": side, "height": side, "batch_size": 1, "color": colour}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "picture"}},
    }


def steps_graph(steps: int, seconds: float, tag: str = "") -> dict[str, Json]:
    """A graph of one node that takes its time in steps."""
    inputs = {"steps": steps, "seconds_per_step": seconds, "tag": tag}
    return {
        "1": {"class_type": "HarnessSteps", "inputs": inputs},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "steps"}},
    }


def diffusion_graph(
    seed: int, checkpoint: str = "sd15.safetensors", side: int = 512, steps: int = 8, batch: int = 1
) -> dict[str, Json]:
    """The graph everybody knows: checkpoint, two texts, sampler, decoder, picture."""
    sampler = {
        "model": ["4", 0],
        "seed": seed,
        "steps": steps,
        "cfg": 7.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "positive": ["6", 0],
        "negative": ["7", 0],
        "latent_image": ["5", 0],
        "denoise": 1.0,
    }
    return {
        "3": {"class_type": "KSampler", "inputs": sampler},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": side, "height": side, "batch_size": batch}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "fog", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "diffusion"}},
    }
