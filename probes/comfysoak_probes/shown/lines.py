"""The lines of the live table, from what a board knows: what each says, in which colour, how important it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Container, Gpu, GpuHealth, GpuSlow, Host, Process, Server
from comfysoak_probes.shown.board import Board, Seen, clock_time, in_order, queue_words, trouble
from comfysoak_probes.shown.text import (
    BOLD,
    DIM,
    GIB,
    GREEN,
    PLAIN,
    RED,
    YELLOW,
    Column,
    Line,
    Span,
    bar,
    duration,
    gib,
    heat,
    number,
    packed,
    rate,
    share,
    table,
)

NOTES_FIRST, NOTES_MOST = 3, 10
# What is left out last comes first.
HEAD, TROUBLE, GPU, SERVER, HOST, NEWS, CONTAINER, ROOT, MORE, INSTANCE, CHILD, HARNESS, OLD_NEWS = range(13)

BAD = ("lost", "gone", "vanished", "down", "silent", "failed", "missing", "hung", "xid", "oom", "died", "bad_answer",
       "dropped", "exception", "killed", "error")  # fmt: skip
GOOD = ("found", "ready", "settled")
USUAL_REASONS = frozenset({"", "gpu_idle", "application_clocks", "sync_boost", "display_clocks"})

GPU_COLUMNS = (
    Column("GPU", 0, right=False), Column("name", 7, right=False), Column("VRAM", 4, right=False), Column("GiB", 0),
    Column("busy", 1), Column("SM", 5), Column("tensor", 8), Column("mem.", 9), Column("W", 2), Column("°C", 2),
    Column("MHz", 6), Column("proc.", 10), Column("foreign", 6), Column("", 1, right=False),
)  # fmt: skip


def lines(board: Board, now_ns: int, width: int) -> list[Line]:
    """Everything there is to show, whatever the height."""
    found = [_head(board, now_ns)]
    hosts = sorted({seen.row.host for seen in board.gpus.values()} | {seen.row.host for seen in board.hosts.values()})
    for host in hosts:
        if len(hosts) > 1:
            found.append(Line((Span.of(f"── {host} ".ljust(min(width, 78), "─"), BOLD),), HEAD))
        found += _gpus(board, host, now_ns, width)
        found += [line for key, seen in board.hosts.items() if key == (host,) for line in _host(seen, now_ns, width)]
    if not board.gpus:
        found.insert(1, Line((Span("no GPU is watched", DIM),), GPU))
    for server in board.servers.values():
        found += _server(board, server, now_ns, width)
    found += _unattached(board, now_ns, width)
    return found + _notes(board)


def _head(board: Board, now_ns: int) -> Line:
    watched_s = 0 if board.began_ns is None else (now_ns - board.began_ns) / NS_PER_S
    return Line(
        (Span("comfysoak probe", BOLD), Span(f"  {clock_time(now_ns)} UTC  watching for {duration(watched_s)}", DIM)),
        HEAD,
    )


def _gpus(board: Board, host: str, now_ns: int, width: int) -> list[Line]:
    rows = []
    for seen in in_order(board.gpus):
        if seen.row.host != host:
            continue
        key = (seen.row.host, seen.row.source, seen.row.uuid)
        slow, health = board.slow.get(key), board.health.get(key)
        silent = seen.is_stale(now_ns)
        alive = slow is not None and not slow.is_stale(now_ns) and not trouble(seen.row.missing)
        name = _short(slow.row.name if slow else None)
        health_row = health.row if health and not health.is_stale(now_ns) else None
        cells = list(_gpu_cells(seen.row, slow.row if slow and alive else None, health_row, name))
        cells.append(_gpu_trouble(seen, slow.row if slow else None, now_ns))
        if silent:
            cells = [*(Span(cell.text, DIM) for cell in cells[:-1]), cells[-1]]
        rank = TROUBLE if cells[-1].style == RED else GPU if seen.row.instance is None else INSTANCE
        rows.append((rank, cells))
    return table(GPU_COLUMNS, rows, width) if rows else []


def _gpu_cells(gpu: Gpu, slow: GpuSlow | None, health: GpuHealth | None, name: str) -> Iterator[Span]:
    index = "-" if gpu.index is None else str(gpu.index)
    yield Span.of(index if gpu.instance is None else f" └ {gpu.instance}", BOLD if gpu.instance is None else PLAIN)
    yield Span.of(name)
    used, total = gpu.memory_used_bytes, gpu.memory_total_bytes
    full = used / total if used is not None and total else None
    yield Span(bar(full), heat(full, 0.9, 0.98))
    yield Span(f"{_tenths(used)}/{_tenths(total)}")
    yield Span(share(gpu.utilisation_ratio))
    if slow is None:
        yield from [Span("")] * 6
    else:
        yield from (_ratio(one) for one in (slow.sm_active_ratio, slow.tensor_active_ratio, slow.memory_active_ratio))
        limit = "" if slow.power_limit_watts is None else f"/{slow.power_limit_watts:.0f}"
        yield Span(f"{number(slow.power_watts)}{limit}")
        yield Span(number(slow.temperature_celsius), _temperature_style(slow, health))
        yield Span(number(None if slow.sm_clock_hertz is None else slow.sm_clock_hertz / 1e6))
    yield Span("" if health is None or health.processes is None else str(health.processes))
    yield _foreign(health)


def _foreign(health: GpuHealth | None) -> Span:
    if health is None or not health.foreign_processes:
        return Span("")
    return Span(f"{health.foreign_processes}, {_tenths(health.foreign_bytes)} GiB", YELLOW)


def _gpu_trouble(seen: Seen[Gpu], slow: GpuSlow | None, now_ns: int) -> Span:
    """The worst there is to say of it."""
    if problem := trouble(seen.row.missing):
        return Span.of(problem, RED)
    if seen.is_stale(now_ns):
        return Span(f"no sample for {duration(seen.age_ns(now_ns) / NS_PER_S)}", RED)
    reasons = [one for one in (slow.event_reasons or "").split(",") if one not in USUAL_REASONS] if slow else []
    if reasons:
        hard = any("hardware" in one or "brake" in one for one in reasons)
        return Span.of(", ".join(one.replace("_", " ") for one in reasons), RED if hard else YELLOW)
    missing = seen.row.missing or (slow.missing if slow else None) or ""
    if "permission" in missing.lower():
        return Span("no permission", RED)
    told = seen.row.missing if seen.row.instance is None else None  # of an instance the driver never tells all
    return Span.of("MIG is on" if told and "MIG" in told else f"without {told}" if told else "", DIM)


def _temperature_style(slow: GpuSlow, health: GpuHealth | None) -> str:
    limit = health.slowdown_celsius if health else None
    if limit is None or slow.temperature_celsius is None:
        return PLAIN
    return heat(slow.temperature_celsius, limit - 8, limit - 2)


def _host(seen: Seen[Host], now_ns: int, width: int) -> list[Line]:
    head = Span.of(f"host {seen.row.host}", BOLD)
    if seen.is_stale(now_ns):
        silent = Span(f"no sample for {duration(seen.age_ns(now_ns) / NS_PER_S)}", RED)
        return packed(head, [silent, *(Span(one.text, DIM) for one in _host_items(seen))], width, (TROUBLE, MORE))
    return packed(head, _host_items(seen), width, (HOST, MORE))


def _host_items(seen: Seen[Host]) -> Iterator[Span]:
    row = seen.row
    yield Span(f"CPU {share(row.cpu_ratio)} of {row.cpu_count}", heat(row.cpu_ratio, 0.8, 0.95))
    yield Span(f"busiest core {share(row.busiest_core_ratio)}", heat(row.busiest_core_ratio, 0.95, 2))
    yield _free_memory(row)
    if row.cpu_pressure_ratio is not None:
        worst = max(row.cpu_pressure_ratio, row.memory_pressure_ratio or 0, row.io_pressure_ratio or 0)
        kinds = (("cpu", row.cpu_pressure_ratio), ("memory", row.memory_pressure_ratio), ("io", row.io_pressure_ratio))
        yield Span("stalled " + " ".join(f"{kind} {share(one)}" for kind, one in kinds), heat(worst, 0.2, 0.6))
    if row.swap_used_bytes:
        swapping = seen.per_second("swapped_in_bytes") or seen.per_second("swapped_out_bytes")
        yield Span(f"swap {gib(row.swap_used_bytes)}" + (", moving" if swapping else ""), YELLOW if swapping else PLAIN)
    if row.steal_ratio:
        yield Span(f"stolen {share(row.steal_ratio)}", heat(row.steal_ratio, 0.02, 0.1))
    disk, network = seen.per_second, seen.per_second
    yield Span(f"disk read {rate(disk('disk_read_bytes'))} written {rate(disk('disk_written_bytes'))}")
    if row.disk_free_bytes is not None:
        yield Span(f"free {row.disk_free_bytes / GIB:.0f} GiB", RED if row.disk_free_bytes < GIB else PLAIN)
    yield Span(f"net in {rate(network('network_received_bytes'))} out {rate(network('network_sent_bytes'))}")
    if lost := (network("network_errors") or 0) + (network("network_dropped") or 0):
        yield Span(f"{lost:.0f} packets lost/s", YELLOW)


def _free_memory(row: Host) -> Span:
    free = row.memory_available_bytes
    part = free / row.memory_total_bytes if free is not None and row.memory_total_bytes else None
    style = PLAIN if part is None else heat(1 - part, 0.9, 0.97)
    return Span(f"memory free {gib(free)} of {_tenths(row.memory_total_bytes)}", style)


def _server(board: Board, seen: Seen[Server], now_ns: int, width: int) -> list[Line]:
    row = seen.row
    head = Span.of(row.server, BOLD)
    found = packed(head, _server_items(board, seen, now_ns), width, (SERVER, MORE))
    own = [one for one in board.living(now_ns) if one.row.server == row.server]
    for one in own:
        if one.row.role in {"server", "proxy"}:
            found += _process(one, now_ns, width)
            found += [line for child in own if child.row.role == "server_child" and child.row.host == one.row.host
                      for line in _process(child, now_ns, width)]  # fmt: skip
    roots = any(one.row.role == "server" for one in own)
    found += [line for one in own if one.row.role == "server_child" and not roots
              for line in _process(one, now_ns, width)]  # fmt: skip
    for container in board.containers.values():
        if container.row.server == row.server and not container.is_stale(now_ns):
            found += _container(container, width)
    return found


def _server_items(board: Board, seen: Seen[Server], now_ns: int) -> Iterator[Span]:
    row = seen.row
    if seen.is_stale(now_ns):
        yield Span(f"no answer for {duration(seen.age_ns(now_ns) / NS_PER_S)}", RED)
    yield Span.of(queue_words(row), RED if row.queue_running is None else PLAIN)
    if row.queue_running is None:
        return
    if row.oldest_pending_age_ns:
        yield Span(f"oldest waits {duration(row.oldest_pending_age_ns / NS_PER_S)}")
    if row.running_age_ns:
        yield Span(f"runs {duration(row.running_age_ns / NS_PER_S)}")
    yield from _answers(row)
    if row.vram_free_bytes is not None:
        yield Span(f"VRAM free {gib(row.vram_free_bytes)}")
    if row.torch_vram_total_bytes is not None:
        yield Span(f"torch holds {gib(row.torch_vram_total_bytes)}")
    if row.server in board.models:
        yield Span.of(f"last loaded {board.models[row.server]}")
    if row.history_length is not None:
        yield Span(f"history {row.history_length}")


def _answers(row: Server) -> Iterator[Span]:
    if row.queue_answer_ns is not None:
        yield Span(f"answers in {row.queue_answer_ns / 1e6:.0f} ms", heat(row.queue_answer_ns / NS_PER_S, 0.5, 2))
    if row.canary_answer_ns is not None:
        yield Span(f"canary {row.canary_answer_ns / 1e6:.0f} ms", heat(row.canary_answer_ns / NS_PER_S, 0.5, 2))


def _process(seen: Seen[Process], now_ns: int, width: int) -> list[Line]:
    child = seen.row.role == "server_child"
    what = {"server": "  process", "proxy": "  proxy"}.get(seen.row.role, "    started")
    head = Span.of(f"{what} {seen.row.pid} {seen.row.name or ''}")
    return packed(head, _process_items(seen, now_ns), width, (CHILD, OLD_NEWS) if child else (ROOT, MORE))


def _process_items(seen: Seen[Process], now_ns: int) -> Iterator[Span]:
    row = seen.row
    yield Span(f"CPU {share(row.cpu_ratio)}")
    yield Span(f"RSS {gib(row.rss_bytes)}")
    if row.swap_bytes:
        yield Span(f"swapped {gib(row.swap_bytes)}", YELLOW)
    if row.threads is not None:
        yield Span(f"{row.threads} {'thread' if row.threads == 1 else 'threads'}")
    if row.handles is not None:
        yield Span(f"{row.handles} files")
    if row.connections is not None:
        yield Span(f"{row.connections} connections")
    if row.connections_half_closed:
        yield Span(f"{row.connections_half_closed} half closed", YELLOW)
    if (reading := seen.per_second("read_bytes")) is not None and reading > 1e5:
        yield Span(f"reads {rate(reading)}")
    if row.started_ns is not None:
        yield Span(f"up {duration((now_ns - row.started_ns) / NS_PER_S)}")


def _container(seen: Seen[Container], width: int) -> list[Line]:
    row = seen.row
    head = Span.of(f"  container {row.container or ''} {row.name or ''}".rstrip() if row.container else "  limits")
    items = list(_container_items(seen))
    return packed(head, items, width, (TROUBLE if any(one.style == RED for one in items) else CONTAINER, MORE))


def _container_items(seen: Seen[Container]) -> Iterator[Span]:
    row = seen.row
    if problem := trouble(row.missing):
        yield Span.of(problem, RED)
        return
    if row.oom_kills:
        yield Span(f"{row.oom_kills} OOM kill{'s' * (row.oom_kills > 1)}", RED)
    limit = "" if row.cpu_limit_cores is None else f" of {row.cpu_limit_cores:.3g}"
    used = seen.per_second("cpu_seconds")
    yield Span(f"CPU {'-' if used is None else f'{used:.1f}'}{limit} cores")
    throttled, periods = seen.per_second("cpu_periods_throttled"), seen.per_second("cpu_periods")
    if throttled and periods:
        yield Span(f"throttled {share(throttled / periods)}", heat(throttled / periods, 0.01, 0.25))
    of = "" if row.memory_limit_bytes is None else f" of {_tenths(row.memory_limit_bytes)}"
    full = (row.memory_used_bytes or 0) / row.memory_limit_bytes if row.memory_limit_bytes else None
    yield Span(f"memory {gib(row.memory_used_bytes)}{of}", heat(full, 0.9, 0.98))
    if row.limit_hits:
        yield Span(f"limit struck {row.limit_hits} times", YELLOW)


def _unattached(board: Board, now_ns: int, width: int) -> Iterable[Line]:
    """The processes of the harness, and those of servers that are not watched themselves."""
    living = [seen for seen in board.living(now_ns) if (seen.row.server,) not in board.servers]
    for seen in living:
        if seen.row.server is not None:
            yield from _process(seen, now_ns, width)
    own = [seen.row for seen in living if seen.row.server is None]
    if own:
        items = [Span.of(f"{row.role} {_fine(row.cpu_ratio)} {_mib(row.rss_bytes)}") for row in own]
        yield from packed(Span("harness", DIM), items, width, (HARNESS, HARNESS))


def _notes(board: Board) -> list[Line]:
    """The last things that happened; the newest ones last, and the last to be left out."""
    shown = list(board.notes)[-NOTES_MOST:]
    found = []
    for at, note in enumerate(shown):
        style = RED if any(word in note.kind for word in BAD) else GREEN if any(w in note.kind for w in GOOD) else DIM
        found.append(Line((Span.of(note, style),), NEWS if at >= len(shown) - NOTES_FIRST else OLD_NEWS))
    return found


def _short(name: str | None) -> str:
    whole = (name or "").removeprefix("NVIDIA ").replace("GeForce ", "")
    return whole.rpartition(" MIG ")[2][:24]  # its GPU stands above it


def _tenths(size: int | None) -> str:
    return "-" if size is None else f"{size / GIB:.1f}"


def _fine(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1%}"


def _mib(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**20:.0f} MiB"


def _ratio(ratio: float | None) -> Span:
    return Span("" if ratio is None else share(ratio))
