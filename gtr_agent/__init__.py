"""The trainer: GTR-Turbo and its baselines for vision-language agents."""
