"""Settings for the whole suite: offline, one thread a worker, the same examples every time."""

import os
import resource
import signal
from collections.abc import Iterator

# Before anything imports torch, and inherited by the processes that tests start. The suite runs in several workers,
# which would otherwise each start as many threads as the machine has cores.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[variable] = "1"
# Tests need no network. A library that reaches for it fails at once instead of waiting.
for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ[variable] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Subprocesses that print tables and progress do so the same way on every machine.
os.environ["COLUMNS"] = "120"
os.environ["NO_COLOR"] = "1"
# A job in a script's background is started with Ctrl-C ignored, and so would be the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest  # noqa: E402  (after the environment variables)
from hypothesis import HealthCheck, settings  # noqa: E402

# No deadline: a slow machine is not a failure. Derandomised: a red test is red for everyone.
settings.register_profile(
    "suite", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@pytest.fixture
def small_disk() -> Iterator[int]:
    """No file may grow beyond so many bytes, which writing then meets as it meets a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield 20_000
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)
