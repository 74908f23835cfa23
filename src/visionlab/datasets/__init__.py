"""Data sets: each finds its samples below a folder and makes the index table of them."""
