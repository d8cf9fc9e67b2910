"""The study service against Optuna's storages: throughput, latency, CPU, growth, and asks with TPE."""
