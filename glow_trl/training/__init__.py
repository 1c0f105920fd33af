"""What the two training stages share: the loop around a TRL trainer, resuming, the hand-over between them."""
