"""What only an object store has, against a real one."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import pytest
from upath import UPath

from export_pipeline import buckets, composing, objects
from export_pipeline.errors import InvalidSetting
from export_pipeline.outages import answering
from export_pipeline.ranges import RANGE_BYTES, Changed
from export_pipeline.settings import Settings, load
from export_pipeline_tests import objectstore

pytestmark = pytest.mark.system
NAMES = ("a b/%41+ü.jsonl", "dir/", "x#?&=.json")


@pytest.fixture
def backend() -> str:
    return "s3"


@pytest.fixture
def tree(settings: Settings) -> UPath:
    return settings.data


def names(tree: UPath) -> list[str]:
    return [found.name for found in buckets.listed(tree)]


def test_objects_are_listed_by_their_names_whatever_these_are_and_can_be_read(tree: UPath, s3: Any) -> None:
    for name in NAMES:
        s3.put_object(Bucket=objectstore.BUCKET, Key=f"{buckets.key_of(tree)}/{name}", Body=name.encode())
    s3.put_object(Bucket=objectstore.BUCKET, Key=f"{buckets.key_of(tree)}x/beside", Body=b"")
    found = {each.name: each for each in buckets.listed(tree)}
    assert list(found) == list(NAMES)
    for name in (NAMES[0], NAMES[2]):
        assert objects.reading(found[name].path, found[name].version).read() == name.encode()
    assert [each.name for each in buckets.listed(tree, deep=False)] == [NAMES[2]]


def test_more_objects_than_a_page_holds_are_listed_and_removed(tree: UPath) -> None:
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda number: objects.write(tree / "many" / f"{number}", b""), range(1100)))
    assert len(names(tree)) == 1100
    objects.remove(tree / "many")
    assert names(tree) == []


def test_an_object_that_changed_is_told_and_not_removed(tree: UPath) -> None:
    objects.write(tree / "a", b"1" * (RANGE_BYTES + 1))
    objects.write(tree / "b", b"1")
    before = {found.path: found.version for found in buckets.listed(tree)}
    with objects.reading(tree / "a") as file:
        file.read(1)
        objects.write(tree / "a", b"2" * (RANGE_BYTES + 1))
        with pytest.raises(Changed):
            read_twice(file)
    with pytest.raises(Changed):
        objects.reading(tree / "a", before[tree / "a"]).read()
    buckets.delete_unchanged(before | {tree / "gone": '"x"'})
    assert names(tree) == ["a"]


def test_an_upload_that_nobody_finished_is_found_and_given_up(tree: UPath, s3: Any) -> None:
    key = f"{buckets.key_of(tree)}/half"
    upload = s3.create_multipart_upload(Bucket=objectstore.BUCKET, Key=key)["UploadId"]
    s3.upload_part(Bucket=objectstore.BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"half")
    [found] = buckets.unfinished(tree)
    assert (found.name, found.id, names(tree)) == ("half", upload, [])
    for _ in range(2):
        buckets.abort(found)
    assert list(buckets.unfinished(tree)) == []


def test_a_bucket_that_keeps_what_is_removed_says_so(tree: UPath, s3: Any) -> None:
    assert (buckets.keeps_removed(tree), buckets.unanswered(tree)) == ((), ())
    s3.create_bucket(Bucket="versioned")
    other = objects.place("s3://versioned/p", tree.storage_options["endpoint_url"], "us-east-1")
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    assert "versioning is on" in buckets.keeps_removed(other)[0]
    objects.write(other / "a", b"1")
    objects.write(other / "a", b"2")
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Suspended"})
    assert "old versions" in buckets.keeps_removed(other)[0]


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("EXPORT_PIPELINE_OBJECT_STORE", "s3://nonesuch/x", "bucket that is not there"),
        ("AWS_SECRET_ACCESS_KEY", "wrong", "refuses the credentials"),
    ],
)
def test_a_store_that_refuses_is_told_in_words(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv(variable, value)
    # A file system is kept by its options; another region makes another.
    changed = {variable: value} if variable in environment else {"EXPORT_PIPELINE_S3_REGION": "eu-west-9"}
    with pytest.raises(InvalidSetting, match=told), answering():
        list(buckets.listed(load(environment | changed).data))


def read_twice(file: BinaryIO) -> None:
    """Read a file to its end, and again: what was asked for ahead may be of before a change."""
    file.read()
    file.seek(0)
    file.read()


def test_what_another_began_is_not_replaced_and_nothing_of_the_attempt_stays(tree: UPath) -> None:
    composing.compose(tree / "made", [b"of another"])
    with pytest.raises(FileExistsError):
        composing.compose(tree / "made", [b"ours"])
    assert (tree / "made").read_bytes() == b"of another"
    assert list(buckets.unfinished(tree)) == []


def test_what_was_given_up_appears_no_more(tree: UPath) -> None:
    begun = composing.begin(tree / "late")
    composing.give_up(begun)
    with pytest.raises(FileNotFoundError):
        composing.compose(begun, [b"rows"])
    assert list(buckets.listed(tree)) == list(buckets.unfinished(tree)) == []
