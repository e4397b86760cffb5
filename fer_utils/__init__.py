"""Helpers of the FER2013 reference study; importing the package has no side effects."""

__version__ = "0.1.0"
