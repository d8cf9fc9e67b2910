"""What bubbles are worth on schedules and scales that no machine here has: a discrete-event model."""
