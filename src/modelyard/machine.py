"""This machine: what it is, what its processor can do, and its measured roof."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .errors import need

# Flags of /proc/cpuinfo that decide which kernels run fast; arm64 spells them differently.
INSTRUCTION_SETS = (
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx_vnni",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "bf16",
    "i8mm",
)
NATIVE_BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})

# A small virtual machine rents at 0.04 to 0.10 USD per core and hour; marked as assumed wherever used.
ASSUMED_USD_PER_CORE_HOUR = 0.05


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine is; never a measured number, so that its id does not change with load."""

    cpu: str
    cores: int
    memory_gib: int
    features: tuple[str, ...]
    gpus: tuple[str, ...]
    system: str

    @property
    def id(self) -> str:
        """12 hex digits that name machines of this make."""
        parts = [self.cpu, self.cores, self.memory_gib, self.features, self.gpus, self.system]
        return hashlib.sha256(json.dumps(["machine", parts]).encode()).hexdigest()[:12]

    @property
    def kind(self) -> str:
        """The kind of processor, as figures are sorted by it."""
        if NATIVE_BF16 & set(self.features):
            return "native bf16"
        if "avx512f" in self.features:
            return "AVX512, no bf16"
        return "AVX2 only" if "avx2" in self.features else "other"


@dataclass(frozen=True, slots=True)
class Roof:
    """The best that this machine did in a short trial: GFLOP/s of a GEMM, GB/s read from memory."""

    gemm_fp32: float
    gemm_bf16: float
    memory_read: float
    seconds: float


@cache
def this() -> Machine:
    """The machine that this process runs on."""
    return Machine(_cpu(), cores(), _memory_gib(), tuple(sorted(features())), _gpus(), platform.machine())


@cache
def features() -> frozenset[str]:
    """Instruction sets that matter, such as `avx512_bf16`."""
    try:
        text = Path("/proc/cpuinfo").read_text("ascii", "replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split()) & frozenset(INSTRUCTION_SETS)
    return frozenset()


def native_bf16() -> bool:
    """Whether the processor multiplies bf16 itself; without it bf16 was 8 times slower than fp32."""
    return bool(NATIVE_BF16 & features())


def cores() -> int:
    """Cores that this process may use: its affinity, and no more than its container's share."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        if quota != "max":
            usable = min(usable, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return usable


def memory_available_gib() -> float:
    """Memory that can be taken now without swapping, in GiB; no more than the container may have."""
    import psutil

    free = float(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        most, now = ((group / name).read_text("ascii").strip() for name in ("memory.max", "memory.current"))
        if most != "max":
            free = min(free, float(most) - float(now))
    except (OSError, ValueError):
        pass
    return free / 2**30


def disk_free_gib(folder: Path) -> float:
    """Free space on the disk of `folder`, in GiB."""
    return shutil.disk_usage(folder).free / 2**30


def assumed_usd_per_hour() -> float:
    """An hourly price for a project that names none; whoever shows it says that it is assumed."""
    return ASSUMED_USD_PER_CORE_HOUR * cores()


@cache
def roof(seconds: float = 0.4) -> Roof:
    """Measure GEMM in fp32 and bf16 and reading from memory, about `seconds` each. Needs torch."""
    torch = need("torch", extra="train", for_="measuring the machine")
    torch.set_num_threads(cores())
    started = time.perf_counter()

    def best(run: object, amount: float) -> float:
        """Largest amount per second over repeated runs."""
        fastest = 0.0
        stop = time.perf_counter() + seconds
        while time.perf_counter() < stop:
            begun = time.perf_counter()
            run()  # type: ignore[operator]
            fastest = max(fastest, amount / (time.perf_counter() - begun))
        return fastest

    rows, width = 512, 1536
    flop = 2 * rows * width * width / 1e9
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(rows, width).to(dtype)
        w = torch.randn(width, width).to(dtype)
        rates[dtype] = best(lambda x=x, w=w: x @ w.T, flop)
    block = torch.ones(64 << 20, dtype=torch.float32)  # 256 MiB: far beyond any cache
    read = best(block.sum, block.numel() * 4 / 1e9)
    return Roof(rates[torch.float32], rates[torch.bfloat16], read, time.perf_counter() - started)


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib() -> int:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return round(pages * size / 2**30)


def _gpus() -> tuple[str, ...]:
    found = []
    for card in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in card.read_text("ascii", "replace").splitlines():
            if line.startswith("Model:"):
                found.append(line.partition(":")[2].strip())
    return tuple(found)
