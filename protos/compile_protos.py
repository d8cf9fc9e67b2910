"""Compiles the protos beside it into Python modules in place: at each build, and by `make protos`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script, where hatchling need not be installed
    BuildHookInterface = object


def compile_protos(root: Path) -> None:
    """Writes the modules, their types and the gRPC stubs next to each .proto file under `root`."""
    protos = sorted(str(path.relative_to(root)) for path in root.glob("hydro/api/**/*.proto"))
    outputs = [f"--{kind}_out=." for kind in ("python", "mypy", "grpc_python", "mypy_grpc")]
    # protoc finds its mypy plug-ins on PATH: beside this interpreter, or in the isolated build's own folder.
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, *protos],
        cwd=root,
        check=True,
        env=_environment_with_plugins(),
    )


def _environment_with_plugins() -> dict[str, str]:
    interpreter_folder = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": os.pathsep.join([os.environ.get("PATH", ""), interpreter_folder])}


class CompileProtos(BuildHookInterface):
    """Hatch's build hook."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles before the files are collected."""
        compile_protos(Path(self.root))


if __name__ == "__main__":
    compile_protos(Path(__file__).parent)
