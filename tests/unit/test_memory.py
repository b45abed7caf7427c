"""The memory watermark's two bounds, and what counts against a server's limit."""

import pytest

from flashsale import limits
from flashsale.memory import is_short, used_share


def test_it_begins_high_and_ends_lower() -> None:
    """Given a share between the bounds / Then it stays as it was; beyond them it changes, and at them already."""
    between = (limits.MEMORY_PAUSE_SHARE + limits.MEMORY_RESUME_SHARE) / 2
    assert [is_short(between, before=before) for before in (False, True)] == [False, True]
    assert is_short(limits.MEMORY_PAUSE_SHARE, before=False)
    assert is_short(limits.MEMORY_RESUME_SHARE, before=True)
    assert not is_short(limits.MEMORY_RESUME_SHARE - 0.01, before=True)


@pytest.mark.parametrize(
    ("info", "share"),
    [
        ({"used_memory": 90, "maxmemory": 100}, 0.9),
        ({"used_memory": 90, "maxmemory": 100, "mem_not_counted_for_evict": 40}, 0.5),
        ({"used_memory": 90, "maxmemory": 0}, 0.0),
    ],
)
def test_what_the_server_counts_is_counted(info: dict[str, int], share: float) -> None:
    """Given what INFO says / Then buffers that the server leaves out are left out; without a limit nothing is used."""
    assert used_share(info) == share
