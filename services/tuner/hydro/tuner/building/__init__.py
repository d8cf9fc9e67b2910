"""Building surrogates: each in a child process, because the user's code runs there, watched by the service."""
