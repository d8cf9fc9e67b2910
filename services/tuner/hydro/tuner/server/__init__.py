"""TunerService over the wire."""
