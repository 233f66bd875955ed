"""The Provisioning Engine: serverless runtimes for devices, on an OpenNebula cloud."""

__version__ = "2.2.0"
