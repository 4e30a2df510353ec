"""The order of states, and their groups."""

from taskq import states
from taskq.states import ALL_STATES, PENDING, STARTED, SUCCESS, precedence, state


def test_states_compare_by_how_advanced_they_are() -> None:
    assert state(PENDING) < state(STARTED) < state(SUCCESS)
    assert state(SUCCESS) >= state(SUCCESS)
    assert state(SUCCESS) > "PROGRESS" > state(STARTED)
    assert max([state(PENDING), state(SUCCESS), state(STARTED)]) == SUCCESS


def test_states_of_ones_own_rank_alike() -> None:
    assert precedence("PROGRESS") == precedence("UPLOADING") == precedence(None)


def test_groups_cover_all_states_once() -> None:
    assert not states.READY_STATES & states.UNREADY_STATES
    grouped = states.READY_STATES | states.UNREADY_STATES
    assert grouped | {states.IGNORED} == ALL_STATES
    assert states.PROPAGATE_STATES < states.EXCEPTION_STATES < ALL_STATES
