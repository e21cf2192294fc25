"""Where a user's time goes: reading, the model, and a whole training step, measured."""
