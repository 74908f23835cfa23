"""Objects out of maps: a network's probabilities become labelled, linked and measured objects. No torch."""
