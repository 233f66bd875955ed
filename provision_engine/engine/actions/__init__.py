"""What a caller can do with serverless runtimes: one use case per module."""
