"""What a serverless runtime is: its model, its states, its document, its attributes. Pure."""
