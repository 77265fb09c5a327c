"""Docker's JSON documents to the engine's values, and back."""
