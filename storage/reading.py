"""Reading Parquet parts so that no damaged byte becomes a value.

Every page carries a CRC-32, which is checked as it is read; the footer, which no CRC covers, is
compared with its hash in the manifest. So reading two columns of a large part costs no more than
those two columns, and still nothing is believed that was not written.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import DamagedArtifact
from storage.files import sha256_file

_TAIL = 8
"""The last bytes of a Parquet file: length of the footer, then `PAR1`."""
HOW_TO_MEND = "`mbpo doctor --repair` puts it aside and computes it again"


@dataclass(frozen=True)
class Part:
    """One Parquet file of a committed table."""

    path: Path
    footer: str
    """sha256 of its footer; empty where the manifest is older than these hashes."""

    @contextmanager
    def open(self) -> Iterator[pq.ParquetFile]:
        """Open it for reading inside the block; raises DamagedArtifact, there or here."""
        try:
            if self.footer and footer_sha256(self.path) != self.footer:
                raise DamagedArtifact(f"{self.path} has a damaged footer; {HOW_TO_MEND}")
            with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
                yield file
        except FileNotFoundError as error:
            raise DamagedArtifact(f"{self.path} is gone; {HOW_TO_MEND}") from error
        except (OSError, pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise DamagedArtifact(f"{self.path} is damaged ({error}); {HOW_TO_MEND}") from error

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return its rows, or some columns of them."""
        with self.open() as file:
            return file.read(None if columns is None else list(columns))


def footer_sha256(path: Path) -> str:
    """Return the hash of a Parquet file's footer with its length and the closing mark."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - _TAIL))
        length = int.from_bytes(stream.read(4), "little") + _TAIL
        stream.seek(max(0, size - length))
        return hashlib.sha256(stream.read()).hexdigest()


@lru_cache(maxsize=4096)
def check_file(path: Path, sha256: str) -> None:
    """Raise DamagedArtifact unless the file has these bytes; looked at once a process."""
    if not path.is_file():
        raise DamagedArtifact(f"{path} is gone; {HOW_TO_MEND}")
    if sha256_file(path) != sha256:
        raise DamagedArtifact(f"{path} is damaged (its sha256 is another); {HOW_TO_MEND}")
