"""Restarts by the counter of queue numbers, and by what a server says it is."""

from __future__ import annotations

from comfysoak_core.comfyui.answers import Queue, SystemStats
from comfysoak_probes.server.restarts import RestartWatch


def queue(*items: tuple[float, str]) -> Queue:
    ids = tuple(name for _, name in items)
    return Queue(ids[:1], ids[1:], max((number for number, _ in items), default=None))


class TestRestartWatch:
    """Restarts by the counter of queue numbers."""

    def test_numbers_that_begin_again_are_a_restart(self) -> None:
        """New prompts only, with numbers far below those before."""
        watch = RestartWatch()
        assert watch.saw(queue((40, "a"), (41, "b"))) is None
        assert watch.saw(queue()) is None
        assert watch.saw(queue((0, "c"))) == "queue numbers fell from 41 to 0"
        assert watch.saw(queue((1, "d"))) is None

    def test_a_deleted_prompt_is_no_restart(self) -> None:
        """The highest prompt was deleted: what is left was there before."""
        watch = RestartWatch()
        watch.saw(queue((1, "a"), (90, "b")))
        assert watch.saw(queue((1, "a"))) is None

    def test_two_servers_behind_one_address_are_no_restart(self) -> None:
        """A prompt seen before that is still known somewhere there: after that numbers say nothing any more."""
        asked: list[str] = []

        def known(prompt_id: str) -> bool:
            asked.append(prompt_id)
            return True

        watch = RestartWatch(known)
        assert watch.saw(queue((40, "a"), (41, "b"))) is None
        assert watch.saw(queue((3, "c"))) is None
        assert watch.saw(queue((42, "d"))) is None
        assert watch.saw(queue((4, "e"))) is None
        assert asked == ["a"]
        gone = RestartWatch(lambda _: False)
        gone.saw(queue((40, "a")))
        assert gone.saw(queue((0, "b"))) == "queue numbers fell from 40 to 0"

    def test_a_number_of_a_client_is_no_counter(self) -> None:
        """A prompt sent with a number of its own (told as a float) or to the front says nothing of the counter."""
        watch = RestartWatch()
        watch.saw(queue((1000.0, "a")))
        assert watch.saw(queue((5, "b"))) is None
        assert watch.saw(queue((-6, "c"))) is None
        assert watch.saw(queue((6, "d"))) is None

    def test_prompts_that_overtook_each_other_are_no_restart(self) -> None:
        """Of prompts sent at once the one with the lower number may come into the queue later."""
        watch = RestartWatch()
        watch.saw(queue((100, "a")))
        assert watch.saw(queue((97, "b"))) is None


def stats(version: str = "0.3.64", *argv: str) -> SystemStats:
    return SystemStats(
        comfyui_version=version,
        python_version="3.12",
        pytorch_version="2.8",
        os="posix",
        ram_total_bytes=None,
        ram_free_bytes=None,
        argv=("main.py", *argv),
        devices=(),
    )


class TestIdentity:
    """A server that was started again with another version or other options, while nothing was in its queue."""

    def test_another_version_that_stays_is_a_restart(self) -> None:
        """Told once, when three answers in a row were the new one's."""
        watch = RestartWatch()
        assert watch.saw_stats(stats()) is None
        said = [watch.saw_stats(stats("0.33.0")) for _ in range(5)]
        assert said == [None, None, "its version was 0.3.64 and is 0.33.0", None, None]

    def test_options_are_told_by_name_and_never_by_value(self) -> None:
        """What stands behind an option may be a secret."""
        watch = RestartWatch()
        watch.saw_stats(stats("0.3.64", "--lowvram", "--api-key", "old"))
        said = [watch.saw_stats(stats("0.3.64", "--highvram", "--api-key=new")) for _ in range(3)]
        assert said[2] == "it now has --highvram; it no longer has --lowvram"
        again = [watch.saw_stats(stats("0.3.64", "--highvram", "--api-key=newer")) for _ in range(3)]
        assert again[2] == "the values on its command line are others"

    def test_two_servers_in_turn_are_no_restart(self) -> None:
        """Through a proxy the answers alternate: neither stays."""
        watch = RestartWatch()
        said = [watch.saw_stats(stats(version)) for version in ("0.3.64", "0.33.0") * 6]
        assert said == [None] * 12

    def test_another_server_that_knows_an_old_prompt_is_no_restart(self) -> None:
        """The proxy has changed its mind; the server before is still there."""
        watch = RestartWatch(lambda _: True)
        watch.saw(queue((1, "a")))
        assert [watch.saw_stats(stats(version)) for version in ("0.3.64", *["0.33.0"] * 5)] == [None] * 6

    def test_a_restart_is_told_once_whatever_shows_it(self) -> None:
        """Refused, then another version, then numbers from 0: that is one restart."""
        watch = RestartWatch()
        watch.saw(queue((40, "a")))
        watch.saw_stats(stats())
        watch.refused()
        assert watch.saw(queue()) is not None
        assert [watch.saw_stats(stats("0.33.0")) for _ in range(4)] == [None] * 4
        assert watch.saw(queue((0, "b"))) is None
