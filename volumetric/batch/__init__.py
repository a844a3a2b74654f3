"""The one loop over subjects that every batch command uses."""
