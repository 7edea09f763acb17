"""Reference experiments of the papers."""
