"""The frame that all stages run in: their command lines, settings, folders, records and errors."""
