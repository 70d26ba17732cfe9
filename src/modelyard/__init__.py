"""Modelyard: from raw documents to a paying model service. One file, one command, every number measured."""

__version__ = "0.1.0"
