"""The files that stages hand to each other: one typed, versioned record a format, with one reader and one writer."""
