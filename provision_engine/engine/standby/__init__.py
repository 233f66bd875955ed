"""Runtimes that are ready before they are asked for, and how they are handed over."""
