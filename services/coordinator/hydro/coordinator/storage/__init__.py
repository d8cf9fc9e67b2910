"""Where the coordinator's state is kept: the port, and its adapter for Postgres."""
