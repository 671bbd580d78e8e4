"""Device and precision, by accelerate."""

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from rebalance_core.config import Precision


def fast_bf16() -> bool:
    """True where bf16 is faster than fp32: recent GPUs, CPUs with AMX or AVX-512 BF16."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if torch.backends.mps.is_available():
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def open_device(precision: Precision) -> Accelerator:
    """The best device at the wanted precision; `auto` is bf16 where that is fast."""
    wanted = "bf16" if precision == "bf16" or (precision == "auto" and fast_bf16()) else "no"
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != wanted:
        AcceleratorState._reset_state()  # one process may train several things in turn
    return Accelerator(mixed_precision=wanted)
