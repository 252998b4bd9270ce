from __future__ import annotations

from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.comfyui.address import Address, Fall
from comfysoak_core.comfyui.whereabouts import Whereabouts

MS = NS_PER_MS


def test_numbers_that_grow_show_nothing() -> None:
    """Answers that overtake each other are no fall, nor are numbers that clients chose, or of the front."""
    address = Address()
    assert address.numbered(7, 1 * MS, 4 * MS) is Fall.NONE
    assert address.numbered(6, 2 * MS, 5 * MS) is Fall.NONE  # sent before 7 was read
    assert address.numbered(8, 6 * MS, 7 * MS) is Fall.NONE
    assert address.numbered(3.0, 8 * MS, 9 * MS) is Fall.NONE
    assert address.numbered(-9, 8 * MS, 9 * MS) is Fall.NONE
    assert address.numbered(None, 8 * MS, 9 * MS) is Fall.NONE


def test_a_lower_number_without_a_drop_is_another_server() -> None:
    """A ComfyUI that lives never counts back; nor does it give a number twice, in whatever order answers come."""
    address = Address()
    assert address.numbered(7, 1 * MS, 2 * MS) is Fall.NONE
    assert address.numbered(3, 3 * MS, 4 * MS) is Fall.WITHOUT_DROP
    twice = Address()
    assert twice.numbered(0, 1 * MS, 3 * MS) is Fall.NONE
    assert twice.numbered(0, 1 * MS, 4 * MS) is Fall.WITHOUT_DROP


def test_numbers_far_apart_at_one_time_are_of_two_servers() -> None:
    """No server takes hundreds of prompts within a few milliseconds."""
    address = Address()
    assert address.numbered(500, 1 * MS, 4 * MS) is Fall.NONE
    assert address.numbered(5, 1 * MS, 5 * MS) is Fall.WITHOUT_DROP


def test_a_lower_number_after_a_drop_may_be_a_restart() -> None:
    """What was sent before the drop says nothing; after `begin_again` numbers count anew."""
    address = Address()
    address.numbered(9, 1 * MS, 2 * MS)
    address.dropped(10 * MS)
    assert address.numbered(10, 9 * MS, 12 * MS) is Fall.NONE
    assert address.numbered(0, 13 * MS, 14 * MS) is Fall.AFTER_DROP
    address.begin_again()
    assert address.numbered(1, 15 * MS, 16 * MS) is Fall.NONE


def test_an_address_of_several_servers_shows_no_restarts() -> None:
    """Two counters interleaved look like restarts: they are not taken for any."""
    address = Address()
    address.several = True
    address.numbered(9, 1 * MS, 2 * MS)
    address.dropped(3 * MS)
    assert address.numbered(0, 4 * MS, 5 * MS) is Fall.NONE


def taken(address: Address, *statuses: int, listens: bool = True) -> Whereabouts:
    """A prompt that was taken; its socket told of a queue of 0 before, and `statuses` meanwhile."""
    one = Whereabouts(address, listens=listens)
    one.status(0, 0)
    one.sent()
    for remaining in statuses:
        one.status(remaining, 1 * MS)
    one.answered(2 * MS)
    return one


def test_a_socket_that_is_told_of_no_growth_belongs_to_another_server() -> None:
    """A server that takes a prompt tells all its sockets; without a socket nobody can know."""
    assert taken(Address()).never_came
    assert not taken(Address(), 1).never_came
    assert not taken(Address(), listens=False).never_came


def test_growth_proves_little_where_several_servers_answer() -> None:
    """It may be another user's prompt; unless no other was being sent at the time."""
    address = Address()
    address.several = True
    assert not taken(address, 1).never_came
    other = Whereabouts(address, listens=True)
    other.sent()
    one = taken(address, 1)
    other.answered(3 * MS)
    assert one.never_came
    assert taken(address, 1).never_came is False


def test_growth_long_after_it_was_taken_is_of_another_prompt() -> None:
    """The window is a second."""
    one = taken(Address())
    one.status(4, 2 * NS_PER_S)
    assert one.never_came


def test_a_prompt_that_ran_unheard_ran_elsewhere() -> None:
    """Where several answer, or where no socket has ever told of any prompt; else the socket is a zombie."""
    address = Address()
    assert taken(address).ran_elsewhere(heard=False)
    taken(address).heard_end()
    assert not taken(address).ran_elsewhere(heard=False)
    address.several = True
    assert taken(address).ran_elsewhere(heard=False)
    assert not taken(address).ran_elsewhere(heard=True)


def test_a_socket_that_was_deaf_and_is_replaced_is_remembered() -> None:
    """The new one may be open to the right server: the prompt was misrouted all the same."""
    address = Address()
    one, fine = taken(address), taken(address, 1)
    one.gap(5 * NS_PER_S, heard=False)
    fine.gap(5 * NS_PER_S, heard=True)
    address.several = True
    assert one.ran_elsewhere(heard=True)
    assert not fine.ran_elsewhere(heard=True)


def test_submissions_are_counted_once_however_they_end() -> None:
    """An answer after the end changes nothing."""
    address = Address()
    one = taken(address)
    one.answered(9 * MS)
    Whereabouts(address, listens=True).answered(9 * MS)
    assert (address.posts, address.open_posts) == (1, 0)
