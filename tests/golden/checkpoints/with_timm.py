"""Builds the network of an exported model in timm, runs it on a picture, and saves its weights again.

    python with_timm.py FOLDER PICTURE FEATURES AGAIN

FOLDER holds `model.safetensors` and `model.json`; PICTURE and FEATURES are 32-bit numbers without a header.
"""

import importlib
import json
import pathlib
import sys

import numpy
import safetensors.torch
import torch

folder, picture, features, again = map(pathlib.Path, sys.argv[1:])
timm = json.loads((folder / "model.json").read_text())["architecture"]["timm"]
module, name = timm["class"].rsplit(".", 1)
net = getattr(importlib.import_module(module), name)(**timm["arguments"]).eval()
net.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"), strict=True)
side = timm["arguments"]["img_size"]
x = torch.from_numpy(numpy.fromfile(picture, "<f4").reshape(1, 3, side, side))
with torch.no_grad():
    net.forward_features(x)[:, 0].numpy().astype("<f4").tofile(features)
safetensors.torch.save_file(net.state_dict(), again)
