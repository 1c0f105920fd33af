"""What `glow-trl audit` is made of."""
