"""The evaluation harness: plays agents on fixed seeds, keeps every episode, ranks them in the open.

Imports point one way: this package may import ``gtr_agent`` and ``gtr_envs``; neither imports it. Nothing heavy is
imported here, so that ``gtr-bench --help`` answers at once.
"""
