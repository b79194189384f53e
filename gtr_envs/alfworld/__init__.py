"""Household tasks on the ALFWorld engine, with pictures."""
