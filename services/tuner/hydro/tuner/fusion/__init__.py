"""Runs the models of many trials as one program, each as if it were alone."""
