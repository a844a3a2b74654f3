"""Quality of predictions, subject by subject; `evaluate` is the front door. Reads files alone."""
