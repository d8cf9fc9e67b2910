"""What the bubbles of a pipeline run are worth: from recorded steps to text, picture and JSON. No suite, no torch."""
