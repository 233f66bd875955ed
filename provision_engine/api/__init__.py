"""The HTTP API. Nothing here depends on OpenNebula's protocols."""
