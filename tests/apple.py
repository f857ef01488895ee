"""A stand-in for Apple's GPU: tensors that say they are on `mps`, hold their values on the processor, and refuse what
MPS refuses: 64-bit floating point, and tensors of two devices in one operation.

python -m tests.apple run demo ...: the command line on a machine that seems to have one.
"""

from __future__ import annotations

import sys
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("mps:0")
REFUSED = (torch.float64, torch.complex128)
ACROSS = {"copy_", "index", "index_put_", "index_put", "_index_put_impl_"}  # take indices or values of the processor


class OnApple(Tensor):
    """A tensor on the stand-in."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnApple:
        if inner.dtype in REFUSED:
            raise TypeError("the MPS framework doesn't support float64")
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.shape, inner.stride(), inner.storage_offset(), dtype=inner.dtype
        )
        return made  # type: ignore[no-any-return]

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OnApple({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        values = tree_leaves((args, kwargs))
        here = [value for value in values if isinstance(value, Tensor) and not isinstance(value, OnApple)]
        if name not in ACROSS and any(value.dim() for value in here):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found mps and cpu")
        inner_args, inner_kwargs = tree_map(lambda x: x.inner if isinstance(x, OnApple) else x, (args, kwargs))
        made = func(*inner_args, **inner_kwargs)
        if name == "copy_" and not isinstance(args[0], OnApple):
            return args[0]
        wrapped = tree_map(lambda x: OnApple(x) if isinstance(x, Tensor) else x, made)
        return return_and_correct_aliasing(func, args, kwargs, wrapped)


class _Sent(torch.autograd.Function):
    """From the processor to the stand-in."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return OnApple(value.detach())

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> Tensor:
        return gradient[0].inner if isinstance(gradient[0], OnApple) else gradient[0]


class _Fetched(torch.autograd.Function):
    """From the stand-in to the processor."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        assert isinstance(value, OnApple)
        return value.inner.detach().clone()

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> Tensor:
        return OnApple(gradient[0])


class Apple(TorchFunctionMode):
    """A machine with the stand-in: what is moved to `mps`, or made there, is a tensor of its kind."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0

    def __enter__(self) -> Any:
        torch.__future__.set_swap_module_params_on_conversion(True)  # `module.to` keeps parameters the same objects
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        torch.__future__.set_swap_module_params_on_conversion(False)
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        first = args[0] if args else None
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return DEVICE if isinstance(first, OnApple) else func(*args)
        name = getattr(func, "__name__", "")
        if name == "numpy" and isinstance(first, OnApple):
            raise TypeError("can't convert mps:0 device type tensor to numpy. Use Tensor.cpu()")
        if name in ("tolist", "untyped_storage", "data_ptr") and isinstance(first, OnApple):
            return func(first.inner)
        if name == "cpu":
            return self._moved(first, torch.device("cpu"))
        device, args = self._device_in(name, args, kwargs)
        if name == "to":
            like = next((other for other in args[1:] if isinstance(other, Tensor)), None)
            if like is not None:
                args, kwargs["dtype"] = args[:1], like.dtype
                device = DEVICE if isinstance(like, OnApple) else torch.device("cpu")
            left = func(*args, **kwargs) if len(args) > 1 or kwargs else first
            return left if device is None else self._moved(left, device)
        made = func(*args, **kwargs)
        if device is not None and isinstance(made, Tensor):
            return self._moved(made, device)
        return made

    @staticmethod
    def _device_in(name: str, args: Any, kwargs: dict[str, Any]) -> tuple[torch.device | None, Any]:
        """The device that is asked for, and the arguments without it."""
        told = kwargs.pop("device", None)
        if name == "to":
            for value in args[1:]:
                if isinstance(value, torch.device) or (isinstance(value, str) and told is None):
                    told = value
            args = (args[0], *(value for value in args[1:] if not isinstance(value, torch.device | str)))
            args = args[:1] if all(value is None for value in args[1:]) else args
            if len(args) == 3 and isinstance(args[2], bool) and args[1] is None:  # non_blocking
                args = args[:1]
        return (None if told is None else torch.device(told)), args

    def _moved(self, value: Any, device: torch.device) -> Any:
        if device.type == "mps" and not isinstance(value, OnApple):
            self.sent += 1
            return _Sent.apply(value)
        if device.type == "cpu" and isinstance(value, OnApple):
            return _Fetched.apply(value)
        return value


def main() -> None:
    torch.inference_mode = torch.no_grad  # type: ignore[assignment, misc]  # its tensors cannot stand for others
    from accelerate import PartialState

    from semples.cli import main as command_line
    from semples.training.engine import Engine

    start = Engine.start

    def there(settings: Any) -> Engine:
        engine = start(settings)
        PartialState().device = engine.accelerator.state.device = DEVICE
        return engine

    with (
        mock.patch("semples.training.engine.Engine.start", there),
        mock.patch("semples.prediction.model.best_device", return_value=DEVICE),
        mock.patch("semples.prediction.model.synchronize", return_value=None),
        Apple() as apple,
    ):
        try:
            command_line()
        finally:
            print("sent", apple.sent, file=sys.stderr)


if __name__ == "__main__":
    main()
