from __future__ import annotations

from echod.server.lean import heap
from echod.session import bulk


def test_blocks_are_reserved_until_they_are_freed_for_the_first_client():
    heap.reserve()
    assert len(heap._reserved) >= heap.FORK_LOCKS + heap.READS
    heap.free_reserved()
    assert heap._reserved == []
    heap.free_reserved()


def test_a_reserved_buffer_has_the_size_of_a_first_read():
    assert heap.READ_BYTES == bulk.FIRST_READ_BYTES


def test_a_copy_of_a_method_does_the_same():
    class Owner:
        def add(self, number=2):
            return number + 1

    before = Owner.add
    heap.copy_method(Owner, "add")
    assert Owner.add is not before
    assert (Owner().add(), Owner().add(5)) == (3, 6)


def test_the_search_for_a_new_pool_ends():
    assert 2 <= len(heap.begin_pools()) <= 2 * heap.MOST_BLOCKS
