"""Children die with the supervisor, however it ends."""

import asyncio
import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

SUPERVISOR = """
    import asyncio, os, sys
    from pathlib import Path
    from hydro.client.suite.child import ChildSpec
    from hydro.client.suite.supervisor import Supervisor
    from hydro.kit.clock import SystemClock

    mark = Path(sys.argv[1])
    program = "import pathlib, signal, sys; pathlib.Path(sys.argv[1]).touch(); signal.pause()"

    async def is_ready():
        return mark.exists()

    async def main():
        command = [sys.executable, "-S", "-c", program, str(mark)]
        spec = ChildSpec("child", command, dict(os.environ), mark.with_suffix(".log"), is_ready)
        supervisor = Supervisor([spec], SystemClock(), lambda report: None)
        await supervisor.start()
        print(supervisor.keepers[0].process_id, flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())
"""


def is_running(process_id):
    try:
        # A zombie has ended: it waits for whoever took it over to look.
        with Path(f"/proc/{process_id}/stat").open() as status:
            return status.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's promise is Linux's")
async def test_a_killed_supervisor_leaves_no_child(tmp_path):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", textwrap.dedent(SUPERVISOR), str(tmp_path / "ready")), stdout=asyncio.subprocess.PIPE
    )
    child = int(await process.stdout.readline())
    assert is_running(child)
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    async with asyncio.timeout(10):
        while is_running(child):
            await asyncio.sleep(0.02)
