"""Imported by the server of :mod:`tests.processes`: what the first model that is loaded would compile."""

from transformers.conversion_mapping import get_checkpoint_conversion_mapping

get_checkpoint_conversion_mapping("qwen2_5_vl")  # the names of the weights of every model, as regular expressions
