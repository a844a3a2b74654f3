"""A trained model: what it is, where it is kept, and how it sees a scan and writes one."""
