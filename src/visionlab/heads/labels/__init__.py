"""Heads of labels: several classes an image, each with its threshold."""
