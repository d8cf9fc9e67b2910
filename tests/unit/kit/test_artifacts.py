from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hydro.kit.artifacts import ArtifactStore, digest_of, read_artifact
from hydro.kit.errors import FailedPrecondition, NotFound


@pytest.fixture(params=["folder", "file URI", "memory"])
def root_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"folder": str(tmp_path), "file URI": f"file://{tmp_path}", "memory": f"memory://{tmp_path}"}[request.param]


def test_what_is_written_is_read(root_uri: str) -> None:
    stored = ArtifactStore(root_uri).write("studies/a/lane.safetensors", b"weights")
    assert (stored.digest, stored.size_bytes) == (digest_of(b"weights"), 7)
    assert read_artifact(stored.uri, stored.digest) == b"weights"


def test_a_missing_artifact_is_not_found(root_uri: str) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        read_artifact(f"{root_uri}/nowhere", digest_of(b""))


def test_a_damaged_artifact_is_refused(root_uri: str) -> None:
    stored = ArtifactStore(root_uri).write("a", b"right")
    ArtifactStore(root_uri).write("a", b"wrong")
    with pytest.raises(FailedPrecondition, match="has digest"):
        read_artifact(stored.uri, stored.digest)


def test_a_reader_never_sees_part_of_a_write(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    contents = [bytes([number]) * 300_000 for number in range(8)]
    allowed = {digest_of(data) for data in contents}
    store.write("a", contents[0])
    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(store.write, "a", data) for data in contents * 10]
        while not all(write.done() for write in writes):
            assert digest_of((tmp_path / "a").read_bytes()) in allowed
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
