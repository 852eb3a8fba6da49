"""The result of a run, as diffusers reads it."""

import torch
from peft import get_peft_model_state_dict

from mixgrpo.training.trainer import Trainer

from .folder import RunFolder


def export(trainer: Trainer, folder: RunFolder) -> None:
    """LoRA adapters for `pipe.load_lora_weights`, or a folder for each trained network."""
    model = trainer.model
    with trainer.policy.weights.averaged():
        if trainer.recipe.tune == "full":
            for name, network in model.networks.items():
                for parameter in network.parameters():  # trained in float32, used in the pipeline's precision
                    parameter.data = parameter.data.to(getattr(torch, trainer.recipe.model.dtype))
                network.save_pretrained(folder.network(name))
            return
        layers, metadata = {}, {}
        for name, network in model.networks.items():
            adapters = get_peft_model_state_dict(network)
            layers[f"{name}_lora_layers"] = {key: tensor.contiguous() for key, tensor in adapters.items()}
            # Without the metadata a reader takes alpha to be the rank.
            metadata[f"{name}_lora_adapter_metadata"] = network.peft_config["default"].to_dict()
        type(model.pipeline).save_lora_weights(folder.lora, **layers, **metadata)
