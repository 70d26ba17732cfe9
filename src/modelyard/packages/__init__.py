"""Packages: a release as something to run elsewhere, with what it is made of."""
