"""What `glow-trl collect` is made of."""
