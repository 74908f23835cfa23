"""Data: index, splits, cache, augmentation and loading of image sets, one module a dataset."""
