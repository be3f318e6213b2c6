"""Small networks, their training and their weights: the neural picker and the denoiser."""

from typing import TYPE_CHECKING

from icefloe._lazy import lazy_names

if TYPE_CHECKING:
    from icefloe.network._torch import network_installed
    from icefloe.network.denoise import denoise_image
    from icefloe.network.denoise_model import DenoiserModel, load_denoiser, save_denoiser
    from icefloe.network.denoise_settings import DenoiserCard, DenoiserTrainSettings
    from icefloe.network.denoise_train import DenoiserStep, DenoiserTraining, train_denoiser
    from icefloe.network.learn import Learned, learn_particle
    from icefloe.network.model import ModelCard, PickerModel
    from icefloe.network.pick import pick_network
    from icefloe.network.settings import NetworkSettings, TrainSettings
    from icefloe.network.train import Training, TrainStep, train_network
    from icefloe.network.weights import load_model, save_model
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "DenoiserCard": "denoise_settings",
            "DenoiserModel": "denoise_model",
            "DenoiserStep": "denoise_train",
            "DenoiserTrainSettings": "denoise_settings",
            "DenoiserTraining": "denoise_train",
            "denoise_image": "denoise",
            "load_denoiser": "denoise_model",
            "save_denoiser": "denoise_model",
            "train_denoiser": "denoise_train",
            "Learned": "learn",
            "learn_particle": "learn",
            "ModelCard": "model",
            "PickerModel": "model",
            "pick_network": "pick",
            "NetworkSettings": "settings",
            "TrainSettings": "settings",
            "TrainStep": "train",
            "Training": "train",
            "train_network": "train",
            "load_model": "weights",
            "network_installed": "_torch",
            "save_model": "weights",
        },
    )

__all__ = [
    "DenoiserCard",
    "DenoiserModel",
    "DenoiserStep",
    "DenoiserTrainSettings",
    "DenoiserTraining",
    "Learned",
    "ModelCard",
    "NetworkSettings",
    "PickerModel",
    "TrainSettings",
    "TrainStep",
    "Training",
    "denoise_image",
    "learn_particle",
    "load_denoiser",
    "load_model",
    "network_installed",
    "pick_network",
    "save_denoiser",
    "save_model",
    "train_denoiser",
    "train_network",
]
