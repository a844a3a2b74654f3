"""Who there is; `phantom` makes people where there are none."""
