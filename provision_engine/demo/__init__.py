"""The main job, shown on a sandbox: what a device does with a runtime, and what it sees."""
