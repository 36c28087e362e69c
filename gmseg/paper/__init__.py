"""The paper reproduced: its table of results and its figures."""
