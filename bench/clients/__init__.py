"""Loads that are Python, because they need what only Python has here: TLS without a C header, and trews itself."""
