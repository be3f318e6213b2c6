"""The neural picker: a small network, its training on a user's picks, and its weights."""

from typing import TYPE_CHECKING

from icefloe._lazy import lazy_names

if TYPE_CHECKING:
    from icefloe.network.model import ModelCard, PickerModel
    from icefloe.network.pick import pick_network
    from icefloe.network.settings import NetworkSettings, TrainSettings
    from icefloe.network.train import Training, TrainStep, train_network
    from icefloe.network.weights import load_model, save_model
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ModelCard": "model",
            "PickerModel": "model",
            "pick_network": "pick",
            "NetworkSettings": "settings",
            "TrainSettings": "settings",
            "TrainStep": "train",
            "Training": "train",
            "train_network": "train",
            "load_model": "weights",
            "save_model": "weights",
        },
    )

__all__ = [
    "ModelCard",
    "NetworkSettings",
    "PickerModel",
    "TrainSettings",
    "TrainStep",
    "Training",
    "load_model",
    "pick_network",
    "save_model",
    "train_network",
]
