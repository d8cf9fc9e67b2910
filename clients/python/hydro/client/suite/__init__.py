"""The whole suite on one machine: a real Postgres, the coordinator, the tuner and a squeezer, supervised."""
