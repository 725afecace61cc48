"""The same rows give the same bytes in every process, whatever its memory held (contract, section 3)."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

PROCESSES, MEMBERS = 12, 4_000

COMPRESS = """
import hashlib, os, random
from export_pipeline.gzip_member import member
before = [bytearray(os.urandom(random.choice([100, 5_000, 70_000, 200_000, 600_000]))) for _ in range(200)]
del before
chosen, found = random.Random(5), hashlib.sha256()
row = "watchProgress,vid_%08d,user_%08d,2026-11-20T00:%02d:%02d.%03dZ,s_%016x,web,,,,%d.%d,%d.%d,,720p,DE\\n"
text = "".join(
    row % tuple(chosen.randrange(n) for n in (99, 900, 60, 60, 1000, 1 << 60, 90, 99, 90, 99))
    for _ in range(3000)
).encode()
for _ in range(MEMBERS):
    length = chosen.randrange(50, 3000)
    begin = chosen.randrange(len(text) - length)
    found.update(member(text[begin : begin + length]))
print(found.hexdigest())
"""


def hashed(_process: int) -> str:
    code = COMPRESS.replace("MEMBERS", str(MEMBERS))
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_members_are_the_same_bytes_in_every_process() -> None:
    with ThreadPoolExecutor(2) as processes:
        assert len(set(processes.map(hashed, range(PROCESSES)))) == 1
