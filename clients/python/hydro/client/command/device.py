"""hydro device: where bundles run."""

from __future__ import annotations

from typing import Annotated

import typer

from hydro.client.command.options import DEFAULT_ADDRESS, Address, AsJson, connect
from hydro.client.command.output import coloured, print_json, print_table, say
from hydro.client.snapshots import DeviceKind, DeviceSnapshot

app = typer.Typer(help="List and drain devices.", no_args_is_help=True)


@app.command("list")
def list_devices(as_json: AsJson = False, address: Address = DEFAULT_ADDRESS) -> None:
    """List every device and slot."""
    found = connect(address).list_devices()
    if as_json:
        print_json(found)
        return
    print_table(("device", "kind", "state", "work", "cores", "memory", "bubbles"), [_row(each) for each in found])


@app.command()
def drain(
    name: Annotated[str, typer.Argument(help="devices/* or devices/*/slots/*", show_default=False)],
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Start no further bundle on a device, and ask running ones to release it."""
    drained = connect(address).drain_device(name)
    say(f"{drained.name} {coloured(drained.state)}")


def _row(device: DeviceSnapshot) -> tuple[str, ...]:
    slot = device.kind is DeviceKind.SLOT
    return (
        device.name,
        device.kind.name.lower(),
        coloured(device.state),
        device.lease or "[bright_black]idle[/]",
        ",".join(str(core) for core in device.cpu_cores) or "-",
        f"{device.memory_bytes / 2**30:.1f} GiB" if device.memory_bytes else "-",
        f"{device.duty_cycle:.0%}, {device.bubble_seconds * 1e3:.1f} ms" if slot else "-",
    )
