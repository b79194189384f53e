"""Card games played from pictures."""
