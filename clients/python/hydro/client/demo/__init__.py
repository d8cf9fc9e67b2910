"""The demo: one real tuning run through the whole suite, beside a replayed pipeline run."""
