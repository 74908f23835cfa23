"""Configuration: conf/ and the command line, composed into one checked, plain configuration."""
