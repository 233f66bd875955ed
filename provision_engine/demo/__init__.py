"""The demo: what a device does with a runtime, and what it sees, on a sandbox."""
