"""The catalogue of what goes wrong with ComfyUI under load: one code each, the same everywhere and for ever.

A code stands in rows, findings, reports and documentation. Here it has its severity, what it means in one
sentence, and what to do about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding weighs: a critical one fails a run that sets no goals of its own."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Area(StrEnum):
    """Where a failure is at home."""

    WIRE = "wire"
    EXECUTION = "execution"
    MEMORY = "memory"
    MACHINE = "machine"


class Code(StrEnum):
    """The codes; `CATALOGUE` says what each means."""

    WS_ZOMBIE = "WS_ZOMBIE"
    WS_HEAD_OF_LINE = "WS_HEAD_OF_LINE"
    WS_IDLE_CUT = "WS_IDLE_CUT"
    WS_TOO_BIG = "WS_TOO_BIG"
    WS_ABNORMAL = "WS_ABNORMAL"
    LOST_TERMINAL = "LOST_TERMINAL"
    HISTORY_RACE = "HISTORY_RACE"
    LOOP_BLOCKED = "LOOP_BLOCKED"
    HISTORY_BLOAT = "HISTORY_BLOAT"
    LB_MISROUTED = "LB_MISROUTED"
    VALIDATION_REJECTED = "VALIDATION_REJECTED"
    MISTAKE_ACCEPTED = "MISTAKE_ACCEPTED"
    OUTPUT_DROPPED = "OUTPUT_DROPPED"
    SUBMIT_ERROR = "SUBMIT_ERROR"
    UPLOAD_ERROR = "UPLOAD_ERROR"
    BAD_MESSAGE = "BAD_MESSAGE"
    OUTPUT_MISSING = "OUTPUT_MISSING"
    OUTPUT_WRONG = "OUTPUT_WRONG"
    OUTPUT_CORRUPT = "OUTPUT_CORRUPT"
    DEADLINE = "DEADLINE"
    GAVE_UP = "GAVE_UP"
    GATEWAY_EMPTY = "GATEWAY_EMPTY"
    GATEWAY_HANG = "GATEWAY_HANG"
    WORKER_DEAD = "WORKER_DEAD"
    NODE_HANG = "NODE_HANG"
    INTERRUPT_MISFIRE = "INTERRUPT_MISFIRE"
    CACHE_HIT = "CACHE_HIT"
    PROMPT_VANISHED = "PROMPT_VANISHED"
    NODE_ERROR = "NODE_ERROR"
    OOM = "OOM"
    OOM_STICKY = "OOM_STICKY"
    VRAM_LEAK = "VRAM_LEAK"
    RAM_LEAK = "RAM_LEAK"
    MODEL_THRASH = "MODEL_THRASH"
    LATENCY_DRIFT = "LATENCY_DRIFT"
    SILENT_DEGRADE = "SILENT_DEGRADE"
    CUDA_POISONED = "CUDA_POISONED"
    GPU_LOST = "GPU_LOST"
    CGROUP_OOM = "CGROUP_OOM"
    GPU_FOREIGN = "GPU_FOREIGN"
    IDLE_WITH_QUEUE = "IDLE_WITH_QUEUE"
    STRAGGLER = "STRAGGLER"
    GPU_VANISHED = "GPU_VANISHED"
    THROTTLED = "THROTTLED"
    DISK_FILL = "DISK_FILL"
    SERVER_RESTARTED = "SERVER_RESTARTED"
    SERVER_DOWN = "SERVER_DOWN"
    COLD_START_FAILED = "COLD_START_FAILED"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the catalogue."""

    code: Code
    area: Area
    severity: Severity
    meaning: str
    remedy: str


_ENTRIES: tuple[Entry, ...] = tuple(
    Entry(Code(code), Area(area), Severity(severity), meaning, remedy)
    for code, area, severity, meaning, remedy in (
        ("WS_ZOMBIE", "wire", "warning",
         "The socket is open and answers pings, but the server has forgotten it: two sockets shared a clientId "
         "and the older one closed.",
         "Close the old socket and wait for its close before opening the new one, or use a new UUID per connection."),
        ("WS_HEAD_OF_LINE", "wire", "critical",
         "All clients are silent while HTTP is fine: the server's one send loop waits for a client that does not read.",
         "Drain every socket; find and drop the slow client; restart the server if it does not recover."),
        ("WS_IDLE_CUT", "wire", "warning",
         "Sockets die at a common age without a close frame: an idle timeout of a proxy.",
         "Ping every 20 s, or raise the proxy's timeout."),
        ("WS_TOO_BIG", "wire", "warning",
         "A message was larger than the client accepts (close code 1009); the prompt went on.",
         "Raise or remove the message limit of the client (1 MiB is the default of some libraries)."),
        ("WS_ABNORMAL", "wire", "warning",
         "The socket ended without a close frame (1006): many at once mean the server, one means the network.",
         "Look into the server's log for the moment of the drop; reconnect with back-off."),
        ("LOST_TERMINAL", "wire", "info",
         "The last message of a prompt fell into a gap between two sockets; history had the result.",
         "Ask /history after every reconnect."),
        ("HISTORY_RACE", "wire", "info",
         "/history was empty right after the end and filled on retry.",
         "Wait for `executing` null before asking, or ask again."),
        ("LOOP_BLOCKED", "wire", "warning",
         "All HTTP answers were slow: a node or a huge answer held the server's event loop.",
         "Ask /history with max_items; keep fewer history entries; look for nodes that hold the GIL."),
        ("HISTORY_BLOAT", "wire", "warning",
         "The server's memory grows with each prompt: whole prompts are kept in its history.",
         'POST /history {"clear": true} now and then.'),
        ("LB_MISROUTED", "wire", "critical",
         "Socket and submission reached different servers: the client is told nothing of its prompt.",
         "Use sticky sessions, or name each server."),
        ("VALIDATION_REJECTED", "wire", "critical",
         "The server refused the workflow (400).",
         "Mend the workflow; compare its nodes with /object_info of this server."),
        ("MISTAKE_ACCEPTED", "wire", "warning",
         "The server accepted a prompt that it was to refuse.",
         "See the mistake in the row of the prompt (`deliberate`); users will wait for what cannot come of it."),
        ("OUTPUT_DROPPED", "wire", "critical",
         "The server accepted the prompt but left out outputs that failed validation (200 with node_errors).",
         "Mend the nodes that node_errors names; compare with /object_info of this server."),
        ("SUBMIT_ERROR", "wire", "critical",
         "A submission failed with another status than 200 or 400 (a gateway's: than 200), or its connection broke.",
         "Check body and proxy limits, and the server's log."),
        ("UPLOAD_ERROR", "wire", "critical",
         "An input picture could not be uploaded, so its prompt was not sent.",
         "Check body limits (--max-upload-size, proxies) and the disk of the server's input folder."),
        ("BAD_MESSAGE", "wire", "warning",
         "The server or something before it sent what ComfyUI never sends: broken JSON, wrong types, impossible order.",
         "Look for a proxy that rewrites, or a custom node that sends messages of its own."),
        ("OUTPUT_MISSING", "wire", "critical",
         "The prompt succeeded but a file it names could not be fetched.",
         "Check the disk and jobs that clean the output folder."),
        ("OUTPUT_WRONG", "wire", "critical",
         "A file is not what was asked for: type, size, count, undecodable, or all of one colour.",
         "Check precision, VAE and driver."),
        ("OUTPUT_CORRUPT", "wire", "critical",
         "The canary picture differs from its own baseline.",
         "Suspect memory errors, the driver, or a changed node."),
        ("DEADLINE", "wire", "critical",
         "The prompt did not end within its deadline.",
         "Compare queue wait with service time: more GPUs for the first, a look at the nodes for the second."),
        ("GAVE_UP", "wire", "warning",
         "The user waited no longer; the prompt was taken back, or went on for nobody.",
         "As for DEADLINE: queue wait or service time. Take prompts back that nobody waits for."),
        ("GATEWAY_EMPTY", "wire", "critical",
         "The gateway answered 200 with too few pictures.",
         "Look into ComfyUI's history for the node error behind it."),
        ("GATEWAY_HANG", "wire", "critical",
         "The gateway never answered while its /health was fine.",
         "Give the gateway deadlines of its own."),
        ("WORKER_DEAD", "execution", "critical",
         "The server accepts prompts and runs none: its worker thread has died.",
         "Restart the server; use a canary prompt as health check, HTTP cannot see this."),
        ("NODE_HANG", "execution", "critical",
         "A node neither ends nor reports progress, and cannot be interrupted.",
         "Restart the server; mend or replace the node."),
        ("INTERRUPT_MISFIRE", "execution", "warning",
         "Another prompt than the one meant was interrupted.",
         "Send prompt_id with /interrupt, or use /api/jobs/{id}/cancel."),
        ("CACHE_HIT", "execution", "info",
         "The prompt did no work: all its nodes came from the server's cache.",
         "Vary a seed; never count these as throughput."),
        ("PROMPT_VANISHED", "execution", "critical",
         "A queued prompt is in neither queue nor history: somebody deleted or cleared it.",
         "Find out who calls POST /queue."),
        ("NODE_ERROR", "execution", "critical",
         "A node raised an error.",
         "See the exception and the node in the table of failures; send the prompt again with the call given there."),
        ("OOM", "memory", "critical",
         "The GPU ran out of memory; all models were unloaded and the next prompt pays for loading them again.",
         "Smaller batch or picture, --reserve-vram, or a smaller data type."),
        ("OOM_STICKY", "memory", "critical",
         "Memory did not come back after an out-of-memory error.",
         "Restart the server."),
        ("VRAM_LEAK", "memory", "critical",
         "GPU memory, settled and with the same models loaded, rises over time.",
         "Bisect the custom nodes."),
        ("RAM_LEAK", "memory", "critical",
         "The server's memory rises over time; in the end the kernel kills it.",
         "Set a memory limit; check the cache options."),
        ("MODEL_THRASH", "memory", "warning",
         "Models that do not fit together are loaded again and again.",
         "Route prompts by model, or give the server more VRAM."),
        ("LATENCY_DRIFT", "memory", "warning",
         "The same workflow became slower over hours, at the same load and with the same models.",
         "Check clocks, caches, history and disk; restart the server to confirm."),
        ("SILENT_DEGRADE", "memory", "warning",
         "A model fits only partially: slower, though still a success.",
         "Use a smaller data type or model, or more VRAM."),
        ("CUDA_POISONED", "machine", "critical",
         "After one illegal access every prompt fails with a CUDA error.",
         "Restart the process."),
        ("GPU_LOST", "machine", "critical",
         "The GPU has fallen off the bus.",
         "Check power, temperature and seating; reset the GPU."),
        ("CGROUP_OOM", "machine", "critical",
         "The container was killed or throttled by its own limit.",
         "Raise the limit, or bound the server's caches."),
        ("GPU_FOREIGN", "machine", "warning",
         "Other processes used the GPU during the run.",
         "Isolate the GPU; such a run is not valid for comparison."),
        ("IDLE_WITH_QUEUE", "machine", "warning",
         "The GPU was idle while prompts waited.",
         "Times per node show whether it was loading, CPU nodes or a stuck worker."),
        ("STRAGGLER", "machine", "warning",
         "One server or GPU is slower than the rest.",
         "Check throttling and placement."),
        ("GPU_VANISHED", "machine", "critical",
         "The driver stopped answering inside a container, as after a reload of the host's daemons.",
         "Recreate the container."),
        ("THROTTLED", "machine", "warning",
         "Clocks fell and the driver says why.",
         "Cooling, or the power limit."),
        ("DISK_FILL", "machine", "warning",
         "Output and temporary files fill the disk; temporary files are purged only at the server's start.",
         "Prune the folders."),
        ("SERVER_RESTARTED", "machine", "critical",
         "The server was restarted during the run; what it had queued is gone.",
         "Look for the reason of the crash in its log."),
        ("SERVER_DOWN", "machine", "critical",
         "The server refused connections.",
         "Start it, or look for the reason of its crash in its log."),
        ("COLD_START_FAILED", "machine", "critical",
         "A server that was to start anew did not get from process start to its first picture in the time it had.",
         "Look into its log; the event says how far it came. Give the stage more time if that is what it takes."),
    )
)  # fmt: skip

CATALOGUE: dict[Code, Entry] = {entry.code: entry for entry in _ENTRIES}
