"""Optuna's gRPC proxy in front of its storage: python -m benchmarks.study_service.optuna_proxy URL HOST PORT."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import optuna
from optuna.storages import run_grpc_proxy_server

from benchmarks.study_service.optuna_clients import silence

THREADS = 40
CONNECTIONS = {"pool_size": 20, "max_overflow": 20}
"""As many as its threads."""


def main() -> None:
    """Serves until it is ended."""
    url, host, port = sys.argv[1:]
    silence()
    storage = optuna.storages.RDBStorage(url, engine_kwargs=CONNECTIONS)
    run_grpc_proxy_server(storage, host=host, port=int(port), thread_pool=ThreadPoolExecutor(THREADS))


if __name__ == "__main__":
    main()
