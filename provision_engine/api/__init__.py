"""The HTTP API. Nothing here knows OpenNebula's wires."""
