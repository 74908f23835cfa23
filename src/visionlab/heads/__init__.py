"""Kinds of heads, a folder each. Importing this imports no torch."""
