"""The GPU behind a port: NVML where there is one, a simulated one elsewhere."""
