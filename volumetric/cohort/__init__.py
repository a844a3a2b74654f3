"""Who there is: `discover` lists scans, `fetch` brings a public data set, `phantom` makes people where none are."""
