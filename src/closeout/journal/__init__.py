"""The durable, ordered log of inputs from which every state can be rebuilt and checked."""
