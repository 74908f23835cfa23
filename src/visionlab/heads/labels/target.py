"""Labels as targets: columns of 0 and 1 of the index."""

from visionlab.data.target import Target

TARGET = Target(classes=True)
