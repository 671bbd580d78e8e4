"""Device and mixed precision, through accelerate."""

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from rebalance_core.config import Precision


def is_bf16_fast() -> bool:
    """Whether bf16 is faster than fp32 here: on recent GPUs, and CPUs with AMX or AVX-512 BF16."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if torch.backends.mps.is_available():
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def create_accelerator(precision: Precision) -> Accelerator:
    """An accelerator on the best device; precision `auto` is bf16 where that is fast, else fp32."""
    is_bf16 = precision == "bf16" or (precision == "auto" and is_bf16_fast())
    mixed_precision = "bf16" if is_bf16 else "no"
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != mixed_precision:
        AcceleratorState._reset_state()  # one process may train several models in turn
    return Accelerator(mixed_precision=mixed_precision)
