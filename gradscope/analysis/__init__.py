"""Where theory stands beside measurement: one file per verb."""
