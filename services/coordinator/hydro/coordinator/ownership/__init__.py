"""Who decides: one coordinator for each driven study, one for allocation."""
