"""From raw scans to prepared pairs on one grid, and the quality of each; `prepare` is the front door."""
