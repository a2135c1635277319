"""What a LockdownChannel is made of, and what a child of one takes over."""
