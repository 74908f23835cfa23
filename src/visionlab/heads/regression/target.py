"""Numbers as targets: columns of the index."""

from visionlab.data.target import Target

TARGET = Target()
