"""Files that processes share: checkpoints, surrogates. A local folder, S3, whatever fsspec opens."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from hydro.kit.errors import FailedPrecondition, NotFound


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """Where a file is and what it holds.

    Units: `size_bytes` in bytes; `digest` is "sha256:" and the hexadecimal digest.
    """

    uri: str
    digest: str
    size_bytes: int


class ArtifactStore:
    """A folder of artifacts.

    A write is atomic: a reader finds the whole file or none. Writers that may overlap fence themselves by path, with
    their attempt in it.
    """

    def __init__(self, root_uri: str) -> None:
        self._root = root_uri.rstrip("/")

    def write(self, path: str, data: bytes) -> StoredArtifact:
        """Stores `data` under the root and tells where."""
        uri = f"{self._root}/{path}"
        system, target = fsspec.core.url_to_fs(uri)
        system.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        if isinstance(system, LocalFileSystem):
            _write_local(Path(target), data)
        else:
            # Object stores show a new object only when it is whole.
            system.pipe_file(target, data)
        return StoredArtifact(uri, digest_of(data), len(data))

    def find(self, path: str) -> bytes | None:
        """Gives what is stored under the root at `path`, for files that are named by what they hold; None: nothing."""
        system, target = fsspec.core.url_to_fs(f"{self._root}/{path}")
        try:
            data: bytes = system.cat_file(target)
        except FileNotFoundError:
            return None
        return data


def read_artifact(uri: str, digest: str) -> bytes:
    """Gives the stored bytes.

    Raises:
        NotFound: nothing is stored there.
        FailedPrecondition: what is stored there has another digest.
    """
    system, target = fsspec.core.url_to_fs(uri)
    try:
        data: bytes = system.cat_file(target)
    except FileNotFoundError:
        raise NotFound(f"artifact {uri} does not exist: was its folder moved or cleaned?") from None
    if digest_of(data) != digest:
        raise FailedPrecondition(
            f"artifact {uri} has digest {digest_of(data)}, not {digest}: it was overwritten or is damaged"
        )
    return data


def digest_of(data: bytes) -> str:
    """Gives the digest: "sha256:" and hexadecimal digits."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _write_local(target: Path, data: bytes) -> None:
    # The name is unlike any other writer's, and rename is atomic within a folder.
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    partial.write_bytes(data)
    partial.replace(target)
