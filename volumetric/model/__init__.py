"""A trained model: its specification, its folder, and the way from a scan to a prediction."""
