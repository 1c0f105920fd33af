"""What `glow-trl mix` is made of: facts about rows, filters over them, and what it writes."""
