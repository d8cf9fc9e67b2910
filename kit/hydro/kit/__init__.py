"""How a Hydro process talks and serves. Knows no trial and no GPU."""
