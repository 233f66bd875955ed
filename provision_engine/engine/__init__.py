"""What a serverless runtime is and does. Nothing here knows HTTP or a wire."""
