"""Every recorded case of both versions, through parsers and lives: outcome, code, nodes and times."""

from __future__ import annotations

import pytest
from tests.core.comfyui.recorded import CASES, Replay, message_of, steps_of

from comfysoak_core.comfyui.messages import BadMessage, Unknown
from comfysoak_core.rows import NodeRun, Outcome, Prompt

# Case -> "outcome code" of each prompt in it, in the order sent. Told from the descriptions in the recordings' README;
# a prompt whose end the recording does not show is aborted, as at the end of a run. Case 33 sends one id twice on
# purpose: the messages of the second prompt come after the end of the first.
OUTCOMES: dict[str, list[str]] = {
    "01_success_fresh": ["success"],
    "02_success_cached": ["cached CACHE_HIT"],
    "02b_success_partly_cached": ["success"],
    "03a_validation_unknown_class": ["rejected VALIDATION_REJECTED"],
    "03b_validation_missing_input": ["rejected VALIDATION_REJECTED"],
    "03c_validation_out_of_range": ["rejected VALIDATION_REJECTED"],
    "03d_validation_wrong_type": ["rejected VALIDATION_REJECTED"],
    "03e_validation_no_outputs": ["rejected VALIDATION_REJECTED"],
    "03f_validation_empty_prompt": ["rejected VALIDATION_REJECTED"],
    "03g_malformed_body": [
        "failed SUBMIT_ERROR",
        "failed SUBMIT_ERROR",
        "rejected VALIDATION_REJECTED",
        "rejected VALIDATION_REJECTED",
        "aborted",
        "failed SUBMIT_ERROR",
        "rejected VALIDATION_REJECTED",
    ],
    "03h_validation_value_not_in_list": ["rejected VALIDATION_REJECTED", "rejected VALIDATION_REJECTED"],
    "03i_validation_bad_link": ["rejected VALIDATION_REJECTED"],
    "03j_validation_no_class_type": ["rejected VALIDATION_REJECTED"],
    "04a_execution_error": ["failed NODE_ERROR", "success"],
    "04b_execution_error_oom": ["oom OOM"],
    "05a_interrupt_global": ["interrupted INTERRUPT_MISFIRE"],
    "05b_interrupt_by_prompt_id": ["interrupted INTERRUPT_MISFIRE", "success"],
    "05c_interrupt_blocking_node": ["interrupted INTERRUPT_MISFIRE"],
    "05d_interrupt_idle": ["success"],
    "05e_interrupt_ksampler": ["interrupted INTERRUPT_MISFIRE"],
    "06_queue_of_five": ["success", "success", "aborted", "aborted", "aborted"],
    "07a_two_clients": ["success", "success"],
    "07b_prompt_without_client_id": ["success", "aborted", "interrupted INTERRUPT_MISFIRE"],
    "08a_reconnect_mid_execution": ["success"],
    "08b_reconnect_after_end": ["success LOST_TERMINAL"],
    "08c_second_socket_same_client_id": ["aborted", "success LOST_TERMINAL"],
    "09_websocket_without_client_id": ["success"],
    "10_upload_load_view": ["success", "rejected VALIDATION_REJECTED"],
    "11a_binary_save_image_websocket": ["success", "success"],
    "11b_binary_with_preview_metadata": ["success"],
    "11c_binary_progress_text": ["success"],
    "11d_preview_frames_with_metadata": ["success"],
    "12a_information_routes": ["failed SUBMIT_ERROR"],
    "12c_free": ["success", "cached CACHE_HIT", "cached CACHE_HIT", "success"],
    "14a_model_load_vae": ["success", "success", "success"],
    "14b_model_load_ksampler_previews": ["success", "success"],
    "15a_sigterm": ["lost SERVER_DOWN", "lost SERVER_DOWN"],
    "15b_sigkill": ["lost SERVER_DOWN", "lost SERVER_DOWN"],
    "16c_large_binary_to_client": ["success LOST_TERMINAL", "success"],
    "16d_slow_reader_stalls_everyone": ["success", "success"],
    "16e_body_over_max_upload_size": ["failed SUBMIT_ERROR", "rejected VALIDATION_REJECTED"],
    "16f_http_odds_and_ends": ["failed SUBMIT_ERROR", "rejected VALIDATION_REJECTED"],
    "17_history_race": ["success", "success", "success"],
    "18_subgraph_expansion": ["success"],
    "20_cache_none": ["success", "success"],
    "21_async_nodes_overlap": ["success"],
    "22_worker_thread_dies": ["failed OUTPUT_DROPPED", "aborted", "aborted"],
    "v0.33/01_success_fresh": ["success"],
    "v0.33/03a_validation_unknown_class": ["rejected VALIDATION_REJECTED"],
    "v0.33/03g_malformed_body": [
        "failed SUBMIT_ERROR",
        "failed SUBMIT_ERROR",
        "rejected VALIDATION_REJECTED",
        "rejected VALIDATION_REJECTED",
        "aborted",
        "failed SUBMIT_ERROR",
        "failed SUBMIT_ERROR",
    ],
    "v0.33/03j_validation_no_class_type": ["rejected VALIDATION_REJECTED"],
    "v0.33/04b_execution_error_oom": ["oom OOM"],
    "v0.33/08c_second_socket_same_client_id": ["aborted", "success LOST_TERMINAL"],
    "v0.33/12a_information_routes": ["failed SUBMIT_ERROR"],
    "v0.33/14a_model_load_vae": ["success", "success", "success"],
    "v0.33/14b_model_load_ksampler_previews": ["success", "success"],
    "v0.33/16d_slow_reader_stalls_everyone": ["success", "success"],
    "v0.33/22_worker_thread_dies": ["failed OUTPUT_DROPPED", "aborted", "aborted"],
    "v0.33/30_jobs_lifecycle": ["success", "failed NODE_ERROR", "interrupted INTERRUPT_MISFIRE", "aborted"],
    "v0.33/32_jobs_cancel": [
        "interrupted INTERRUPT_MISFIRE",
        "interrupted INTERRUPT_MISFIRE",
        "interrupted INTERRUPT_MISFIRE",
        "aborted",
        "aborted",
        "aborted",
    ],
    "v0.33/33_prompt_id_forms": [
        "success BAD_MESSAGE",
        "rejected VALIDATION_REJECTED",
        "rejected VALIDATION_REJECTED",
        "rejected VALIDATION_REJECTED",
        "rejected VALIDATION_REJECTED",
        "rejected VALIDATION_REJECTED",
        "rejected VALIDATION_REJECTED",
        "rejected VALIDATION_REJECTED",
        "rejected VALIDATION_REJECTED",
        "rejected VALIDATION_REJECTED",
        "rejected VALIDATION_REJECTED",
        "rejected VALIDATION_REJECTED",
        "success",
        "success",
        "success",
        "success",
    ],
    "v0.33/34_dependency_cycle": [
        "rejected VALIDATION_REJECTED",
        "rejected VALIDATION_REJECTED",
        "failed OUTPUT_DROPPED",
        "success",
    ],
    "v0.33/35_preview_method_per_prompt": ["success", "success", "success", "success", "success", "success"],
    "v0.33/36_queue_and_secrets": ["success", "success"],
    "v0.33/37a_cache_alternating_default": ["success", "success", "success", "success", "success", "cached CACHE_HIT"],
    "v0.33/37b_cache_alternating_ram_thresholds": [
        "success",
        "success",
        "cached CACHE_HIT",
        "cached CACHE_HIT",
        "cached CACHE_HIT",
        "cached CACHE_HIT",
    ],
    "v0.33/37c_cache_alternating_classic": ["success", "success", "success", "success", "success", "cached CACHE_HIT"],
    "v0.33/37d_cache_alternating_lru": [
        "success",
        "success",
        "cached CACHE_HIT",
        "cached CACHE_HIT",
        "cached CACHE_HIT",
        "cached CACHE_HIT",
    ],
    "v0.33/39_combo_is_checked": ["rejected VALIDATION_REJECTED", "rejected VALIDATION_REJECTED"],
    "v0.33/40_assets_enabled": ["success"],
    "v0.33/41_progress_is_throttled": ["success", "success", "success", "success"],
    "v0.33/42a_interrupt_sampler_fast_steps": ["interrupted INTERRUPT_MISFIRE"],
    "v0.33/42b_interrupt_within_a_step": ["interrupted INTERRUPT_MISFIRE"],
    "v0.33/43_intermediate_output_cached": ["success", "cached CACHE_HIT"],
    "v0.33/44_node_replacement": [
        "failed SUBMIT_ERROR",
        "rejected VALIDATION_REJECTED",
        "failed SUBMIT_ERROR",
        "failed SUBMIT_ERROR",
        "failed SUBMIT_ERROR",
    ],
    "v0.33/46_jobs_list_broken_by_one_prompt": ["success", "success", "success"],
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_each_recorded_prompt_ends_as_it_did(case: str) -> None:
    """Outcome and code of every recorded prompt are those of the real server."""
    lives = Replay(case).run().lives
    assert [f"{life.row.outcome} {life.row.code or ''}".strip() for life in lives] == OUTCOMES[case]


def test_every_case_with_a_prompt_has_an_outcome_here() -> None:
    """No recorded case is left out of the table."""
    assert {case for case in CASES if Replay(case).run().lives} == set(OUTCOMES)


@pytest.mark.parametrize("case", CASES)
def test_real_servers_send_nothing_bad_or_unknown(case: str) -> None:
    """Every message of a real server is of a known kind and has the known types."""
    for step in steps_of(case):
        message = message_of(step) if step["dir"] == "ws_recv" else None
        if isinstance(message, Unknown) and message.kind.startswith("assets."):
            continue  # only with --enable-assets, and not about prompts
        assert not isinstance(message, BadMessage | Unknown), message
        assert message is None or not message.rest, message


def _only(case: str, index: int = 0) -> Prompt:
    return Replay(case).run().lives[index].row


def _nodes(case: str) -> dict[str, NodeRun]:
    return {row.node_id: row for row in Replay(case).run().nodes.values()}


def test_times_of_a_fresh_prompt() -> None:
    """Client times are those of the messages, server times those of history."""
    row = _only("01_success_fresh")
    assert (row.scheduled_ns, row.accepted_ns, row.number) == (303_400_000, 319_600_000, 0)
    assert (row.start_received_ns, row.end_received_ns, row.end_source) == (334_100_000, 1_101_800_000, "socket")
    assert (row.started_server_ns, row.ended_server_ns) == (1_795_349_114_718_000_000, 1_795_349_114_926_000_000)
    assert (row.nodes_total, row.nodes_cached, row.nodes_executed, row.outputs_received) == (3, 0, 3, 1)
    assert row.queue_remaining == 1


def test_nodes_from_the_cache_have_not_run() -> None:
    """A cached output node is reported as finished, and is no run of it."""
    replay = Replay("02_success_cached").run()
    row = replay.lives[0].row
    assert (row.nodes_cached, row.nodes_executed, replay.nodes) == (3, 0, {})


def test_partly_cached_counts_as_work() -> None:
    """A cached input node alone does not make a prompt cached."""
    row = _only("02b_success_partly_cached")
    assert (row.outcome, row.nodes_cached, row.nodes_executed) == (Outcome.SUCCESS, 1, 2)


def test_a_failure_names_node_class_and_exception() -> None:
    """An execution error keeps what the server said of it."""
    row = _only("04a_execution_error")
    assert (row.node_id, row.node_class, row.error_type) == ("2", "HarnessFail", "RuntimeError")
    assert row.error_message == "deliberate failure"
    assert row.end_received_ns is not None
    assert row.ended_server_ns is not None


@pytest.mark.parametrize("case", ["04b_execution_error_oom", "v0.33/04b_execution_error_oom"])
def test_out_of_memory_in_both_versions(case: str) -> None:
    """Out of memory is told from other errors in both versions."""
    row = _only(case)
    assert (row.outcome, row.error_type) == (Outcome.OOM, "torch.OutOfMemoryError")


def test_a_lost_end_is_found_in_history() -> None:
    """What fell into the gap between two sockets is told by history, with a bound that covers the gap."""
    row = _only("08b_reconnect_after_end")
    assert (row.end_source, row.outputs_received) == ("history", 1)
    assert row.end_received_ns is not None
    assert row.end_error_ns is not None
    assert row.end_error_ns > 1_000_000_000
    assert row.ended_server_ns is not None


def test_nodes_around_a_gap_say_so() -> None:
    """Nodes that began or ended while the socket was away are marked, the others are not."""
    nodes = _nodes("08a_reconnect_mid_execution")
    assert {node_id: row.in_gap for node_id, row in nodes.items()} == {"1": True, "2": True, "3": False}
    assert nodes["2"].steps == 10


def test_coroutine_nodes_overlap() -> None:
    """Async nodes of one prompt run at the same time, and their times show it."""
    nodes = _nodes("21_async_nodes_overlap")
    first, second = (nodes[node_id] for node_id in ("1", "2"))
    assert first.ended_ns is not None
    assert second.ended_ns is not None
    assert max(first.started_ns, second.started_ns) < min(first.ended_ns, second.ended_ns)


def test_expanded_nodes_have_rows_of_their_own() -> None:
    """Nodes made at run time are rows with the node they stand for, and count as its work."""
    replay = Replay("18_subgraph_expansion").run()
    expanded = [row for row in replay.nodes.values() if row.node_id not in {"1", "2", "3"}]
    assert expanded
    assert {row.display_node_id for row in expanded} == {"2"}
    assert replay.lives[0].row.nodes_executed == 3


def test_steps_are_the_maximum_not_the_number_of_messages() -> None:
    """0.33 leaves progress messages out; the steps of a node are known all the same."""
    nodes = _nodes("v0.33/41_progress_is_throttled")
    assert 600 in {row.steps for row in nodes.values()}


def test_every_node_that_ran_has_ended() -> None:
    """After the end of a prompt no node of it is open."""
    for case in ("01_success_fresh", "04a_execution_error", "05a_interrupt_global", "14a_model_load_vae"):
        assert all(row.ended_ns is not None for row in Replay(case).run().nodes.values())


def test_messages_are_counted_with_their_bytes() -> None:
    """The row of a prompt says how much was sent about it."""
    row = _only("14b_model_load_ksampler_previews")
    assert row.messages == 38
    assert row.message_bytes > 5000
