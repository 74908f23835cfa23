"""Black-box tests of what users have: through the commands and the public names of Python alone.

Whatever the inside looks like, these must pass. They import nothing of visionlab but ``visionlab`` itself and what is
public there (``load``, ``train``, ``models``, ``losses``, ``metrics``, ``samples``).

``make test`` runs those that aren't marked ``acceptance``; ``make acceptance`` runs all.
"""
