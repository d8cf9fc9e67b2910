"""The squeezer as a service."""
