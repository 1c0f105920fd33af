"""The charts of the report. Each function returns inline SVGs, and fewer or none where data is missing."""
