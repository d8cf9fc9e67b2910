"""What a process frees stays with it, until it is returned."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")

# Resident MiB after 64 blocks of 2 MiB were written and freed; pages that come anew when that happens once more.
PROGRAM = """
import resource
from pathlib import Path
from hydro.kit.memory import keep_freed_memory, return_freed_memory

def churn():
    blocks = [bytearray(b"x") * 2**21 for _ in range(64)]

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

def new_pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

{setting}
before = resident()
churn()
kept, pages = resident() - before, new_pages()
churn()
print(kept, new_pages() - pages)
return_freed_memory()
print(resident() - before)
"""


def run(setting):
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(setting=setting)], capture_output=True, check=True)
    kept, new_pages, left = map(float, done.stdout.split())
    return kept, new_pages, left


def test_kept_memory_is_used_again_and_can_be_returned():
    kept, new_pages, left = run("keep_freed_memory()")
    assert kept > 100
    assert new_pages < 1000
    assert left < 30


def test_without_the_setting_the_system_gets_it_back():
    kept, _, _ = run("")
    assert kept < 30
