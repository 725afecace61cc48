"""Files put together from others, begun by one process and written by another, on disk and in a bucket."""

import pytest
from upath import UPath

from export_pipeline import buckets, composing, objects
from export_pipeline.settings import Settings

pytestmark = pytest.mark.backends("s3")


@pytest.fixture
def tree(settings: Settings) -> UPath:
    return settings.data / "tree"


def there(tree: UPath) -> dict[str, int]:
    """What is in the tree, and what is being uploaded there with no bytes."""
    found = {path.name: size for path, size, _ in objects.files_below(tree)}
    return found | ({each.name: 0 for each in buckets.unfinished(tree)} if objects.is_remote(tree) else {})


@pytest.mark.parametrize(
    "sizes", [[], [7], [3 << 20, 3 << 20, 11], [6 << 20, 1, 12 << 20], [1, 6 << 20, 5 << 20, 9]]
)
def test_a_file_is_put_together_from_bytes_and_ranges_of_others(tree: UPath, sizes: list[int]) -> None:
    content = bytes(range(251)) * (13 << 12)
    objects.write(tree / "source", content)
    pieces = [composing.Extent(tree / "source", 5 + n, size) for n, size in enumerate(sizes)]
    composing.compose(tree / "made", [b"begin", *pieces, b"end"])
    expected = b"".join(content[piece.offset : piece.offset + piece.length] for piece in pieces)
    assert (tree / "made").read_bytes() == b"begin" + expected + b"end"


def test_what_was_begun_once_may_be_written_twice(tree: UPath) -> None:
    """A worker may die between the last byte and the news of it."""
    begun = composing.begin(tree / "made")
    for _ in range(2):
        composing.compose(begun, [b"the same" * (2 << 20)])
    assert there(tree) == {"made": 16 << 20}


def test_what_was_begun_in_a_folder_that_was_cleared_appears_no_more(tree: UPath) -> None:
    composing.compose(composing.begin(tree / "done"), [b"rows"])
    begun = composing.begin(tree / "late")
    composing.clear(tree)
    with pytest.raises(FileNotFoundError):
        composing.compose(begun, [b"rows"])
    assert there(tree) == {}
