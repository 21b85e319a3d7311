from tasks.rows import chunk
from tasks.stage import slices


def test_slices_cover_all_rows_and_no_rows_make_one_empty_shard():
    assert [list(part) for part in slices(5, 2)] == [[0, 1], [2, 3], [4]]
    assert slices(0, 2) == [range(0, 0)]
    rows = list("abcde")
    assert [chunk(rows, 2, shard) for shard in range(3)] == [["a", "b"], ["c", "d"], ["e"]]
