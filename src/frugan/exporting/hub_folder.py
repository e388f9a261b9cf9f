"""A folder that ``huggingface_hub`` uploads as it is: weights, config, a model card with a picture.

It is the artefact that `save` writes, with what people look for on the Hub: a sheet of samples, costs, values with
their protocols, the data and their terms. ``frugan.load("hf-hub:owner/name")`` opens it from there.
"""

from __future__ import annotations

from pathlib import Path

import torch

from frugan import artefact
from frugan.artefact import Generator
from frugan.exporting import Parcel, Target, Written
from frugan.pictures import save_grid
from frugan.registry import UserError

PICTURE = "samples.png"
SAMPLES = 32


def write(parcel: Parcel, folder: Path, *, licence: str = "") -> Written:
    """Write the folder.

    Args:
        licence: of the weights, as the Hub calls it: mit, cc-by-4.0 ... If left out, the card names none.
    """
    if parcel.module is not parcel.artefact.module or parcel.place is not None:
        raise UserError("A hub-folder holds the weights as they are: leave --truncation and --for out.")
    network = parcel.artefact
    also = {"licence": licence} if licence else {}
    if isinstance(network, Generator):
        made = torch.from_numpy(network.sample(SAMPLES)).permute(0, 3, 1, 2)
        save_grid(made, folder / PICTURE, columns=8)
        also["picture"] = PICTURE
    network.save(folder, overwrite=True, **also)
    again = Parcel.of(artefact.open_shipped(folder))
    parity = parcel.compare(lambda inputs: [one.numpy() for one in again.expected([*map(torch.from_numpy, inputs)])])
    return Written(parity, parcel.description(), ("Upload it: hf upload OWNER/NAME FOLDER",))


variant = Target("hub_folder", "a folder to upload to the Hugging Face Hub: weights, config, model card", write)
