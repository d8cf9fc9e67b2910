"""The training of a bundle as a library: lanes in, measurements and checkpoints out."""
