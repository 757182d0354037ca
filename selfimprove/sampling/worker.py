"""What runs inside every worker process of the engine: replacing the weights in place.

Contract: vLLM mixes `WorkerExtension` into its worker class, so ``self`` is that worker. After `replace_weights` the
engine computes exactly what a fresh engine on the same directory would. Imported by worker processes that load
nothing else of this package, so it imports nothing.

See it work: ``pytest tests/sampling/test_vllm.py -k swap``.
"""

from __future__ import annotations

from typing import Any


class WorkerExtension:
    """Methods that `collective_rpc` can call by name."""

    reload_weights: Any
    model_runner: Any

    def replace_weights(self, path: str) -> None:
        """Load the safetensors in ``path`` over the served weights."""
        self.reload_weights(weights_path=path)
        for module in self.model_runner.get_model().modules():
            # On a CPU an output layer tied to the embedding keeps a packed copy that a reload does not refresh.
            if hasattr(module, "cpu_linear") and module.weight.numel():
                module.quant_method.process_weights_after_loading(module)
