"""Runtimes that are ready before they are requested, and how they are handed over."""
