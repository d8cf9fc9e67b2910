"""A search backend of another distribution."""
