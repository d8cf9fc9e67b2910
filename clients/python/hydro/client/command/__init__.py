"""The `hydro` command."""

from hydro.client.command.main import main

__all__ = ["main"]
