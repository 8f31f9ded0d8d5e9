"""The one place that asks torch about GPUs: on a machine without one, tests stand in for it here."""

import platform

import torch


def gpus() -> int:
    """Number of CUDA devices that torch sees."""
    return torch.cuda.device_count()


def is_gpu(device: torch.device) -> bool:
    """Whether a device is a CUDA one."""
    return device.type == "cuda"


def device_name(device: torch.device) -> str:
    """Product name of a GPU, such as `NVIDIA H100 80GB HBM3`; for other devices the machine, such as `x86_64`."""
    return torch.cuda.get_device_name(device) if is_gpu(device) else platform.machine()


def wait_for(device: torch.device) -> None:
    """Return once the device has done all that it was given; a CPU has."""
    if is_gpu(device):
        torch.cuda.synchronize(device)


def release_memory() -> None:
    """Give memory that torch holds on GPUs, but does not use, to other processes."""
    if gpus():
        torch.cuda.empty_cache()


def peak_memory(device: torch.device) -> int | None:
    """Largest number of bytes held on a GPU by tensors since `reset_peak_memory`; None elsewhere."""
    return torch.cuda.max_memory_allocated(device) if is_gpu(device) else None


def reset_peak_memory(device: torch.device) -> None:
    """Begin to count `peak_memory` anew."""
    if is_gpu(device):
        torch.cuda.reset_peak_memory_stats(device)
