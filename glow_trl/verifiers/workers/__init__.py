"""Worker processes with hard limits on time and memory."""
