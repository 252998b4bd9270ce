"""The rows of a recording: one frozen dataclass a table, and the only definition of each table there is.

Load and probes make these rows, the journal writes them, analysis reads them. The dataclass fields are the
columns, in order, and their annotations the column types (`int`, `float`, `str`, `bool`, each perhaps `| None`).
A unit stands in the name: `_ns` (all moments are UTC nanoseconds of the run's clock, `_server_ns` those of the
server's own clock), `_bytes`, `_ratio` (0 to 1, except CPU where 1 is one core), `_watts`, `_celsius`, `_hertz`.
Missing is None beside a reason in `missing`, never zero.

Rows with an `id` are journalled when they begin and again when they end: of rows with one id the last counts.
A row with an id is open while its `ENDED_BY` column is None; sealing the recording closes what is still open.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from comfysoak_core.value import value


class Outcome(StrEnum):
    """How an intended prompt ended; each ends in exactly one of these."""

    SUCCESS = "success"
    CACHED = "cached"  # every node that would have done work was in execution_cached
    REJECTED = "rejected"  # refused by validation (400)
    FAILED = "failed"  # a node raised, the submission broke, or the output is not what was asked for
    OOM = "oom"
    INTERRUPTED = "interrupted"
    TIMEOUT = "timeout"  # no end within the workflow's deadline
    VANISHED = "vanished"  # was queued, then in neither queue nor history of a server that lived on
    LOST = "lost"  # the server went away or restarted with the prompt in it
    GIVEN_UP = "given_up"  # its user waited no longer
    NOT_SENT = "not_sent"  # intended, but the harness did not send it
    ABORTED = "aborted"  # still open when the run ended


class Role(StrEnum):
    """What a prompt is for."""

    LOAD = "load"
    CANARY = "canary"  # a fixed one beside the load, in no figure of it


@value(kw_only=True)
class Row:
    """What all rows have: the name of their table and the column that says they have ended."""

    TABLE: ClassVar[str]
    ENDED_BY: ClassVar[str | None] = None  # rows of this table have an `id`, and are open while this is None
    ORDERED_BY: ClassVar[str] = "at_ns"


@value(kw_only=True)
class Prompt(Row):
    """One intended prompt, sent or not, from the moment it was due to the end of its life."""

    TABLE: ClassVar[str] = "prompts"
    ENDED_BY: ClassVar[str | None] = "outcome"
    ORDERED_BY: ClassVar[str] = "scheduled_ns"

    id: str  # the prompt id sent to the server: a canonical UUID of our making
    server: str
    worker: str  # the process that sent it
    client_id: str
    workflow: str
    phase: str | None = None
    variation: str = "{}"  # JSON, input path (`3.seed`) -> value: with the workflow all it takes to send it again
    expected: str = Outcome.SUCCESS
    scheduled_ns: int
    deadline_ns: int | None = None
    sent_ns: int | None = None
    accepted_ns: int | None = None  # the answer to POST /prompt was read
    http_status: int | None = None
    number: float | None = None  # the server's queue number
    queue_remaining: int | None = None  # as last told by the server when it accepted
    start_received_ns: int | None = None  # execution_start, and how late that may be
    start_error_ns: int | None = None
    end_received_ns: int | None = None  # executing null (or history), and how late that may be
    end_error_ns: int | None = None
    end_source: str | None = None  # "socket", "history", or "answer": that of a gateway
    started_server_ns: int | None = None  # history's timestamps (resolution 1 ms)
    ended_server_ns: int | None = None
    created_server_ns: int | None = None  # when it took the prompt, by its own clock (0.33 and newer)
    fetched_ns: int | None = None  # outputs fetched and checked
    finished_ns: int | None = None  # the harness was done with it
    outcome: str | None = None
    code: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    node_id: str | None = None
    node_class: str | None = None
    nodes_total: int | None = None
    nodes_cached: int | None = None
    nodes_executed: int | None = None
    messages: int = 0
    message_bytes: int = 0
    outputs_expected: int | None = None
    outputs_received: int | None = None
    output_bytes: int | None = None
    outputs_ok: bool | None = None  # None: not fetched
    output_problem: str | None = None
    deliberate: str | None = None  # the mistake it carries on purpose
    front: bool = False  # sent to the front of the queue
    attempt: int = 1  # of the same user with the same inputs
    retry_of: str | None = None  # the prompt that was given up before
    left_ns: int | None = None  # its user gave up waiting
    cancel_asked_ns: int | None = None  # the harness asked the server to delete or interrupt it
    upload_took_ns: int | None = None  # for its input pictures, all together
    upload_bytes: int | None = None
    role: str = Role.LOAD


@value(kw_only=True)
class NodeRun(Row):
    """One node's execution within a prompt, by the messages about it."""

    TABLE: ClassVar[str] = "nodes"
    ENDED_BY: ClassVar[str | None] = "ended_ns"
    ORDERED_BY: ClassVar[str] = "started_ns"

    id: str  # prompt id, "/", node id
    prompt_id: str
    node_id: str
    display_node_id: str | None = None
    node_class: str | None = None
    server: str
    workflow: str
    started_ns: int
    first_progress_ns: int | None = None
    ended_ns: int | None = None
    steps: float | None = None  # the `max` of its progress; None: it reported none
    in_gap: bool = False  # the socket was away when it began or ended: its times are bounds, no measurements


@value(kw_only=True)
class Session(Row):
    """One WebSocket from the attempt to open it to its end."""

    TABLE: ClassVar[str] = "sessions"
    ENDED_BY: ClassVar[str | None] = "closed_ns"
    ORDERED_BY: ClassVar[str] = "opening_ns"

    id: str
    server: str
    worker: str
    role: str  # "user", "watcher", "churn" or "stalled"
    client_id: str
    opening_ns: int
    opened_ns: int | None = None  # None: never opened
    closed_ns: int | None = None
    close_code: int | None = None
    closed_by: str | None = None  # "client", "server", "network"; "refused" when never opened
    reason: str | None = None
    code: str | None = None  # from the catalogue, where the end was a failure
    messages: int = 0
    message_bytes: int = 0
    longest_silence_ns: int | None = None
    reopened_as: str | None = None


@value(kw_only=True)
class Gpu(Row):
    """One GPU, or one MIG instance of it, at one moment, by a source that answers fast (10 Hz)."""

    TABLE: ClassVar[str] = "gpu"

    at_ns: int
    read_cost_ns: int
    late_ns: int | None = None  # how long after its deadline the reading began
    host: str
    source: str  # "nvml" or "dcgm"
    uuid: str  # of a MIG instance its own
    index: int | None = None
    instance: str | None = None  # of a MIG instance: GPU instance, "/", compute instance
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    memory_reserved_bytes: int | None = None
    utilisation_ratio: float | None = None
    memory_utilisation_ratio: float | None = None
    missing: str | None = None  # which columns could not be read, and why


@value(kw_only=True)
class GpuSlow(Row):
    """What changes slowly or costs more to read about one GPU (1 Hz)."""

    TABLE: ClassVar[str] = "gpu_slow"

    at_ns: int
    read_cost_ns: int
    late_ns: int | None = None
    host: str
    source: str
    uuid: str
    index: int | None = None
    instance: str | None = None
    name: str | None = None
    utilisation_mean_ratio: float | None = None  # of all of the driver's own samples since the row before
    utilisation_highest_ratio: float | None = None
    utilisation_samples: int | None = None  # how many those are; 0: the driver had none
    graphics_active_ratio: float | None = None  # some engine was busy; these five over the time since the row before
    sm_active_ratio: float | None = None  # mean share of the SMs that had work
    sm_occupancy_ratio: float | None = None  # warps in them, of what they could hold
    tensor_active_ratio: float | None = None
    memory_active_ratio: float | None = None  # of the memory's bandwidth
    power_watts: float | None = None
    power_limit_watts: float | None = None
    energy_joules: float | None = None  # since the driver was loaded
    temperature_celsius: float | None = None
    memory_temperature_celsius: float | None = None
    performance_state: int | None = None  # 0 is the fastest
    sm_clock_hertz: int | None = None
    memory_clock_hertz: int | None = None
    event_reasons: str | None = None  # named flags, joined by commas; "" when none is set
    power_throttled_s: float | None = None  # slowed down by its power limit, in all: no short one is missed
    thermal_throttled_s: float | None = None
    pcie_sent_bytes_per_s: float | None = None
    pcie_received_bytes_per_s: float | None = None
    nvlink_sent_bytes_per_s: float | None = None  # of all links together
    nvlink_received_bytes_per_s: float | None = None
    xid: int | None = None  # the last one, by an exporter; the driver's own are events
    missing: str | None = None


@value(kw_only=True)
class GpuHealth(Row):
    """What hardly ever changes, counters of errors, and who else is on the GPU (0.2 Hz)."""

    TABLE: ClassVar[str] = "gpu_health"

    at_ns: int
    read_cost_ns: int
    late_ns: int | None = None
    host: str
    source: str
    uuid: str
    index: int | None = None
    instance: str | None = None
    ecc_corrected: int | None = None  # since the driver was loaded
    ecc_uncorrected: int | None = None
    ecc_uncorrected_lifetime: int | None = None
    rows_remapped_corrected: int | None = None
    rows_remapped_uncorrected: int | None = None
    remapping_pending: bool | None = None  # at the next reset
    remapping_failed: bool | None = None
    pcie_replays: int | None = None
    pcie_generation: int | None = None  # falls while idle
    pcie_generation_most: int | None = None
    pcie_width: int | None = None
    pcie_width_most: int | None = None
    nvlinks_active: int | None = None
    nvlink_errors: int | None = None
    fan_ratio: float | None = None
    encoder_ratio: float | None = None
    decoder_ratio: float | None = None
    sm_clock_most_hertz: int | None = None
    memory_clock_most_hertz: int | None = None
    slowdown_celsius: float | None = None
    power_limit_default_watts: float | None = None
    persistence_mode: bool | None = None
    compute_mode: str | None = None
    mig_mode: bool | None = None
    processes: int | None = None
    server_bytes: int | None = None  # held by the servers under test and what they started
    foreign_processes: int | None = None  # None: ids cannot be matched, or no server of this host is known
    foreign_bytes: int | None = None
    missing: str | None = None


@value(kw_only=True)
class GpuProcess(Row):
    """One process on one GPU (0.2 Hz)."""

    TABLE: ClassVar[str] = "gpu_processes"

    at_ns: int
    read_cost_ns: int
    late_ns: int | None = None
    host: str
    uuid: str
    instance: str | None = None
    pid: int
    kind: str | None = None  # "compute", "graphics" or both, joined by a comma
    name: str | None = None
    memory_bytes: int | None = None
    utilisation_ratio: float | None = None  # of the SMs, by the driver's last samples of this process
    is_server: bool | None = None  # or one it started; None: pids cannot be matched here, or one of the harness's own
    missing: str | None = None


@value(kw_only=True)
class Host(Row):
    """One host at one moment; counters count from boot."""

    TABLE: ClassVar[str] = "host"

    at_ns: int
    read_cost_ns: int
    late_ns: int | None = None
    host: str
    cpu_ratio: float | None = None  # of all cores together, 0 to 1
    cpu_count: int | None = None
    busiest_core_ratio: float | None = None
    core_ratios: str | None = None  # of each core, in order, joined by commas
    iowait_ratio: float | None = None
    steal_ratio: float | None = None  # taken by the hypervisor for others
    load_1m: float | None = None
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    swap_used_bytes: int | None = None
    swapped_in_bytes: int | None = None
    swapped_out_bytes: int | None = None
    cpu_pressure_ratio: float | None = None  # share of the last 10 s in which some task waited
    memory_pressure_ratio: float | None = None
    io_pressure_ratio: float | None = None
    memory_full_pressure_ratio: float | None = None  # in which no task got on
    io_full_pressure_ratio: float | None = None
    disk_free_bytes: int | None = None
    disk_read_bytes: int | None = None  # of all disks
    disk_written_bytes: int | None = None
    network_sent_bytes: int | None = None  # of all adapters: loopback, bridges and the like carry nothing new
    network_received_bytes: int | None = None
    network_errors: int | None = None
    network_dropped: int | None = None
    handles: int | None = None  # open files of all processes
    handle_limit: int | None = None
    processes: int | None = None
    threads: int | None = None
    missing: str | None = None


@value(kw_only=True)
class Process(Row):
    """One process at one moment: the server's, or one of ours."""

    TABLE: ClassVar[str] = "processes"

    at_ns: int
    read_cost_ns: int
    late_ns: int | None = None
    host: str
    pid: int
    role: str  # "server", "server_child", "proxy" (listens for it), "load", "sampler", "recorder", "simulator", ...
    server: str | None = None
    name: str | None = None
    parent_pid: int | None = None
    started_ns: int | None = None
    cpu_ratio: float | None = None  # 1 is one core
    cpu_seconds: float | None = None
    rss_bytes: int | None = None
    uss_bytes: int | None = None  # its own alone; like swap read rarely
    swap_bytes: int | None = None
    read_bytes: int | None = None  # from disks, since it began
    written_bytes: int | None = None
    handles: int | None = None
    connections: int | None = None  # established, to the port it serves
    connections_half_closed: int | None = None  # the other end has closed, it has not (CLOSE_WAIT)
    threads: int | None = None
    missing: str | None = None


@value(kw_only=True)
class Container(Row):
    """The limits a server lives under on this host, what it used of them, and how often they struck (1 Hz)."""

    TABLE: ClassVar[str] = "containers"

    at_ns: int
    read_cost_ns: int
    late_ns: int | None = None
    host: str
    server: str
    container: str | None = None  # first twelve digits of its id; None: limits without a container
    name: str | None = None
    image: str | None = None
    cpu_limit_cores: float | None = None  # None without a reason in `missing`: no limit
    cpu_seconds: float | None = None
    cpu_periods: int | None = None
    cpu_periods_throttled: int | None = None
    cpu_throttled_s: float | None = None
    memory_limit_bytes: int | None = None
    memory_used_bytes: int | None = None
    memory_file_bytes: int | None = None  # page cache within `memory_used_bytes`, given back under pressure
    memory_peak_bytes: int | None = None
    swap_used_bytes: int | None = None
    memory_pressure_ratio: float | None = None
    limit_hits: int | None = None  # memory.events: max
    oom_events: int | None = None
    oom_kills: int | None = None
    processes: int | None = None
    processes_limit: int | None = None
    missing: str | None = None


@value(kw_only=True)
class Folder(Row):
    """The size of a folder of a server, where it can be reached (once a minute)."""

    TABLE: ClassVar[str] = "folders"

    at_ns: int
    read_cost_ns: int
    late_ns: int | None = None
    host: str
    server: str
    kind: str  # "output" or "temp"
    bytes: int | None = None
    files: int | None = None
    whole: bool | None = None  # False: counting took too long, and these are lower bounds
    disk_free_bytes: int | None = None
    missing: str | None = None


@value(kw_only=True)
class Server(Row):
    """What a server says of itself, and how long it took to say it."""

    TABLE: ClassVar[str] = "server"

    at_ns: int
    server: str
    late_ns: int | None = None
    queue_answer_ns: int | None = None  # how long GET /queue took
    canary_answer_ns: int | None = None  # how long GET /prompt took, which asks for next to nothing
    queue_running: int | None = None
    queue_pending: int | None = None
    running_age_ns: int | None = None  # since it was first seen running: a lower bound, good to a reading
    oldest_pending_age_ns: int | None = None  # likewise, of the one that waits longest
    running_prompt_id: str | None = None
    highest_number: float | None = None  # falls back when the server was restarted
    history_length: int | None = None  # entries; found without fetching them, every 10 s
    stats_answer_ns: int | None = None
    vram_total_bytes: int | None = None
    vram_free_bytes: int | None = None
    torch_vram_total_bytes: int | None = None
    torch_vram_free_bytes: int | None = None
    ram_total_bytes: int | None = None
    ram_free_bytes: int | None = None
    missing: str | None = None


@value(kw_only=True)
class ServerLog(Row):
    """One line of a server's log that is worth keeping, colour codes and level prefix taken off."""

    TABLE: ClassVar[str] = "server_log"

    at_ns: int
    server: str
    source: str  # "socket", "file" or "http"
    kind: str  # "model_requested", "model_loaded", "model_unloaded", "prompt_got", "prompt_executed", "oom", ...
    model: str | None = None
    loaded_bytes: int | None = None
    duration_s: float | None = None
    text: str


@value(kw_only=True)
class Event(Row):
    """Anything else that happened at a moment."""

    TABLE: ClassVar[str] = "events"

    at_ns: int
    source: str  # who says so: "supervisor", "simulator", "sampler", a load process
    kind: str  # "phase", "fault", "restart", "gpu_lost", "disagreement", "source_lost", "source_found", ...
    server: str | None = None
    subject: str | None = None  # a prompt id, a session id, a GPU uuid, a phase, a fault
    code: str | None = None
    detail: str = ""
    seconds: float | None = None  # a length of time that it tells: of a "source_interval" that interval


@value(kw_only=True)
class Trial(Row):
    """One level of load that was held to see whether the goals hold there: a step of a search for capacity."""

    TABLE: ClassVar[str] = "trials"
    ENDED_BY: ClassVar[str | None] = "judged_ns"
    ORDERED_BY: ClassVar[str] = "began_ns"

    id: str  # stage, "/", number of the trial
    unit: str  # "users", or "prompts a second"
    level: float
    again: bool = False  # the level was held before
    phase: str  # that of the prompts it is judged by
    began_ns: int
    ended_ns: int | None = None  # the load was over, and its prompts had ended
    round: int = 0  # how often it has ended: it was held on where there were too few prompts to tell
    judged_ns: int | None = None
    held: bool | None = None
    sure: bool | None = None  # None beside `held`: nobody judged it; False: too few prompts, gone by what was seen
    why: str = ""  # the goals as measured


@value(kw_only=True)
class Generator(Row):
    """One load process about itself, over the second before `at_ns`."""

    TABLE: ClassVar[str] = "generator"

    at_ns: int
    worker: str
    pid: int
    users: int
    sockets: int
    in_flight: int
    cpu_ratio: float | None = None  # 1 is one core
    lag_max_ns: int | None = None  # how late its event loop woke up at worst
    lateness_max_ns: int | None = None  # how late a prompt left at worst, against its schedule
    handles: int | None = None
    handle_limit: int | None = None
    rss_bytes: int | None = None
    journal_errors: int = 0  # writes the disk refused
    rows_dropped: int = 0  # given up because it went on refusing


@value(kw_only=True)
class ClockReading(Row):
    """How far a host's system clock has moved from the run's clock, or the clock of a worker from its master's."""

    TABLE: ClassVar[str] = "clocks"

    at_ns: int
    host: str
    offset_ns: int
    step_ns: int = 0  # against the reading before, where it is more than drift explains
    clock: str = "system"  # or "worker": the offset its rows had until then, which it makes good from then on; or
    # "probe": how far a probe's clock on another machine is ahead, which its rows have been rid of
    error_ns: int | None = None  # bound of `offset_ns`; None: both clocks are of one machine
    drift_ppm: float | None = None  # microseconds it gains in a second, of a "probe"; None: not watched for long enough


@value(kw_only=True)
class ServerClockReading(Row):
    """How far a server's clock is ahead of the run's, measured by the prompts it ran."""

    TABLE: ClassVar[str] = "server_clocks"

    at_ns: int
    server: str
    worker: str
    offset_ns: int  # server's clock minus ours
    error_ns: int  # it lies within so much of it
    prompts: int  # that it was measured by
    drift_ppm: float | None = None  # microseconds it gains in a second; None: not watched for long enough


ROW_TYPES: tuple[type[Row], ...] = (
    Prompt,
    NodeRun,
    Session,
    Gpu,
    GpuSlow,
    GpuHealth,
    GpuProcess,
    Host,
    Process,
    Container,
    Folder,
    Server,
    ServerLog,
    Event,
    Trial,
    Generator,
    ClockReading,
    ServerClockReading,
)
TABLES: dict[str, type[Row]] = {row_type.TABLE: row_type for row_type in ROW_TYPES}
