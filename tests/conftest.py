"""Strict tests, easy use: what JAX lets pass in silence is an error here."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import hypothesis
import jax
import pytest

DEVICES = 4  # that a test marked `devices` needs; a CPU has as many as are asked for
jax.config.update("jax_num_cpu_devices", DEVICES)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_legacy_prng_key", "error")
# Nearly all of the suite's time is compilation, and most of that what makes code fast rather than right: passes, parts
# for many cores, and emitters of fused loops, which JAX 0.10 can do without. Processes that tests start do the same.
FAST_COMPILATION = not os.environ.get("JAXNN_TEST_OPTIMIZED")
jax.config.update("jax_disable_most_optimizations", FAST_COMPILATION)
if FAST_COMPILATION:
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
    flags = {
        "--xla_cpu_parallel_codegen_split_count=1": jax.__version_info__ < (0, 13),
        "--xla_cpu_use_fusion_emitters=false": jax.__version_info__ < (0, 11),
    }  # by version, because the compiler ends the process over a flag that it doesn't know
    os.environ["XLA_FLAGS"] = " ".join([*(flag for flag in flags if flags[flag]), os.environ.get("XLA_FLAGS", "")])

# A process in the background is started with Ctrl-C ignored, and hands that on; the tests of Ctrl-C press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same few examples every time: a test that fails does so for everybody. Compiling is slow, so there is no deadline.
hypothesis.settings.register_profile(
    "jaxnn",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=20,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],  # to shrink a network is to compile for minutes
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("jaxnn")


def pytest_runtest_setup(item):
    if item.get_closest_marker("devices") and len(jax.devices()) < DEVICES:
        pytest.skip(f"needs {DEVICES} devices, and {jax.default_backend()} has {len(jax.devices())}")


@pytest.fixture
def x64():
    """Run the test in float64: gradients are compared there."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def optimized():
    """With the usual passes of the compiler, as users have them: what it fuses rounds otherwise."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", FAST_COMPILATION)


@pytest.fixture
def key():
    return jax.random.key(0)


class Compilations:
    """How many programs the compiler has made."""

    def __init__(self) -> None:
        self.count = 0

    def listen(self, event: str, duration: float, **_: object) -> None:
        self.count += event == "/jax/core/compile/backend_compile_duration"

    @contextmanager
    def none(self) -> Iterator[None]:
        """Nothing within compiles: neither a run nor a stray operation on the device."""
        before = self.count
        yield
        assert self.count == before, f"{self.count - before} programs were compiled, where none should be"


_COMPILATIONS = Compilations()
jax.monitoring.register_event_duration_secs_listener(_COMPILATIONS.listen)


@pytest.fixture
def compilations() -> Compilations:
    """Counts compilations: `with compilations.none(): ...`, or `compilations.count` before and after."""
    return _COMPILATIONS


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """A process may map so much memory and no more, and every compiled program maps some: XLA crashes at the limit."""
    yield
    jax.clear_caches()
