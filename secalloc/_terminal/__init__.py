"""How a secret is asked of a person."""
