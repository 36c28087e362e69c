"""The command ``gmseg``: parse, call and print."""
