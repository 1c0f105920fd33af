"""What `glow-trl label` is made of."""
