"""How much time the engine adds to what OpenNebula itself needs. Run ``python -m benchmarks``."""
