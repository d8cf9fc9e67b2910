"""The coordinator's services over the wire."""
