"""What the engine adds to OpenNebula's own time. Run ``python -m benchmarks --help``."""
