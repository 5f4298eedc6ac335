"""Makes the checkpoints of this folder: miniature networks with random weights, as other programs write them.

    python -m venv v && v/bin/pip install torch timm safetensors transformers onnx onnxscript onnxruntime
    v/bin/python make.py

`xcit.safetensors`, `vit.safetensors` and `reg.safetensors` are timm's state dicts: what every other file must become. Where timm itself
converts the names of others (`checkpoint_filter_fn`), its conversion is what they are held against.
"""

import argparse
import json
import os
import pathlib

import numpy
import onnx
import safetensors.torch
import timm
import timm.models.vision_transformer as vit
import timm.models.xcit as xcit
import torch
import transformers

HERE = pathlib.Path(__file__).parent
torch.manual_seed(7)


def random_(model):
    """Every number is drawn, so that no two tensors can be taken for each other."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) if "var" in name else 0.1 * torch.randn_like(value))
    return model.eval()


def save(name, tensors):
    safetensors.torch.save_file({k: v.contiguous().clone() for k, v in tensors.items()}, HERE / name)


# XCiT, timm's names with a classifier, then facebookresearch/xcit's.
net = random_(xcit.Xcit(img_size=16, patch_size=8, embed_dim=8, depth=1, num_heads=2, cls_attn_layers=2, num_classes=2, eta=1.0))
timm_names = net.state_dict()
save("xcit.safetensors", timm_names)
facebook = {}
for name, value in timm_names.items():
    if ".attn.q." in name and name.startswith("cls_attn"):
        value = torch.cat([timm_names[name.replace(".q.", f".{part}.")] for part in "qkv"])
        name = name.replace(".attn.q.", ".attn.qkv.")
    elif name.startswith("cls_attn") and (".attn.k." in name or ".attn.v." in name):
        continue
    facebook[name.replace("pos_embed.", "pos_embeder.")] = value
converted = xcit.checkpoint_filter_fn(dict(facebook), net)
assert all(torch.equal(converted[name], timm_names[name]) for name in timm_names)
torch.save({"model": facebook}, HERE / "xcit_facebook.pth")

# sparsam: student and teacher, each with a projection head, and what a training needs besides.
backbone = {f"backbone.{name}": value for name, value in timm_names.items() if not name.startswith("head.")}
head = {
    "projection_head.mlp.0.weight": torch.randn(4, 8),
    "projection_head.mlp.0.bias": torch.zeros(4),
    "projection_head.last_layer.weight_g": torch.ones(6, 1),
    "projection_head.last_layer.weight_v": torch.randn(6, 4),
}
student = {name: torch.zeros_like(value) for name, value in {**backbone, **head}.items()}
moments = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))])
moments.param_groups[0]["params"][0].sum().backward()
moments.step()
torch.save(
    {
        "student": {f"module.{name}": value for name, value in student.items()},
        "teacher": {**backbone, **head},
        "optimizer": moments.state_dict(),
        "epoch": 3,
        "best": numpy.float64(0.25),
        "args": argparse.Namespace(arch="xcit_small_12_p8", lr=0.0005),
        "dino_loss": {"center": torch.zeros(1, 6)},
    },
    HERE / "xcit_sparsam.pth",
)

# DINO's ViT in half precision, as parameters; one storage behind all of it, at odd places.
sizes = dict(img_size=8, patch_size=4, embed_dim=8, depth=2, num_heads=2, num_classes=0)
net = random_(vit.VisionTransformer(**sizes))
halves = {name: value.half() for name, value in net.state_dict().items()}
save("vit.safetensors", {name: value.float() for name, value in halves.items()})
one = torch.zeros(1 + sum(value.numel() for value in halves.values()), dtype=torch.float16)
shared, at = {}, 1
for name, value in halves.items():
    window = one[at : at + value.numel()]
    window.copy_(value.flatten())
    # Linear weights lie column by column: their strides are not those of their shape.
    if value.dim() == 2:
        window.copy_(value.t().flatten())
        window = window.view(value.shape[1], value.shape[0]).t()
    else:
        window = window.view(value.shape)
    shared[f"module.{name}"] = torch.nn.Parameter(window)
    at += value.numel()
torch.save({"state_dict": shared}, HERE / "vit_dino.pth")

# The same as Hugging Face's `ViTModel` would be called by `torch.save` under transformers 4 and 5.
def hugging_face(tensors, layer, attention, projection, first, second, norms):
    out = {}
    for name, value in tensors.items():
        parts = name.split(".")
        stem = layer + "." + parts[1] + "." if parts[0] == "blocks" else ""
        inner = ".".join(parts[2:]) if stem else name
        if inner.startswith("attn.qkv."):
            for third, part in zip(value.chunk(3), attention):
                out[f"{stem}{part}.{parts[-1]}"] = third
            continue
        for timm_name, theirs in {
            "attn.proj": projection, "mlp.fc1": first, "mlp.fc2": second, "norm1": norms[0], "norm2": norms[1],
            "ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1", "cls_token": "embeddings.cls_token",
            "reg_token": "embeddings.register_tokens", "register_tokens": "embeddings.register_tokens",
            "pos_embed": "embeddings.position_embeddings", "mask_token": "embeddings.mask_token",
            "patch_embed.proj": "embeddings.patch_embeddings.projection", "norm": "layernorm",
        }.items():
            if inner == timm_name or inner.startswith(timm_name + "."):
                out[stem + theirs + inner[len(timm_name):]] = value
                break
        else:
            raise KeyError(name)
    return out


small = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, patch_size=4, image_size=8)
old = ["attention.attention.query", "attention.attention.key", "attention.attention.value"]
new = ["attention.q_proj", "attention.k_proj", "attention.v_proj"]
norms = ["layernorm_before", "layernorm_after"]
floats = {name: value.float() for name, value in halves.items()}
names = hugging_face(floats, "layers", new, "attention.o_proj", "mlp.fc1", "mlp.fc2", norms)
theirs = transformers.ViTModel(transformers.ViTConfig(intermediate_size=32, layer_norm_eps=1e-6, **small), add_pooling_layer=False).eval()
theirs.load_state_dict(names)
net.load_state_dict(floats)
picture = torch.randn(1, 3, 8, 8)
assert torch.allclose(theirs(picture).last_hidden_state, net.forward_features(picture), atol=1e-5)
torch.save(names, HERE / "vit_transformers5.bin")
theirs.save_pretrained(HERE / "saved")
os.replace(HERE / "saved/model.safetensors", HERE / "vit_transformers.safetensors")

# DINOv2 with registers: facebookresearch's names with chunks of blocks and the mask, and the class position that timm adds to the token.
net = vit.VisionTransformer(init_values=1.0, reg_tokens=4, no_embed_class=True, **sizes)
theirs = random_(transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(num_register_tokens=4, layer_norm_eps=1e-6, **small)))
reference = {}
for name, value in net.state_dict().items():
    reference[name] = 0.1 * torch.randn_like(value)
facebook = {("register_tokens" if name == "reg_token" else name): value for name, value in reference.items()}
facebook["pos_embed"] = torch.cat([0.1 * torch.randn(1, 1, 8), reference["pos_embed"]], 1)
facebook["mask_token"] = torch.zeros(1, 8)
converted = vit.checkpoint_filter_fn(dict(facebook), net)
net.load_state_dict(converted)
save("reg.safetensors", net.state_dict())
names = hugging_face(facebook, "encoder.layer", new, "attention.o_proj", "mlp.fc1", "mlp.fc2", ["norm1", "norm2"])
theirs.load_state_dict(names)
assert torch.allclose(theirs(picture).last_hidden_state, net.eval().forward_features(picture), atol=1e-5)
theirs.save_pretrained(HERE / "saved")
os.replace(HERE / "saved/model.safetensors", HERE / "reg_transformers.safetensors")
in_chunks = {}
for name, value in facebook.items():
    parts = name.split(".")
    in_chunks[".".join(["blocks", "0", *parts[1:]]) if parts[0] == "blocks" else name] = value
training = {f"teacher.backbone.{name}": value for name, value in in_chunks.items()}
training["teacher.dino_head.last_layer.weight_v"] = torch.zeros(2, 2)
torch.save(training, HERE / "reg_facebook.pth")

# An export of DINOv2: linear weights lose their names and are transposed, positions are cut in two.
plain = random_(transformers.Dinov2Model(transformers.Dinov2Config(layer_norm_eps=1e-6, **small)))


class Wrapped(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = plain
        self.decoder = torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.decoder(self.backbone(x).last_hidden_state[:, 0])


torch.onnx.export(
    Wrapped().eval(), (torch.randn(1, 3, 12, 12),), HERE / "dinov2.onnx", dynamo=False, opset_version=14, input_names=["x"],
    output_names=["y"], dynamic_axes={"x": {0: "batch", 2: "height", 3: "width"}},
)
save("dinov2.safetensors", {f"backbone.{name}": value for name, value in plain.state_dict().items()})


# A pickle that runs a program when it is unpickled, beside a whole backbone.
class Evil:
    def __reduce__(self):
        return os.system, ("touch EXECUTED",)


torch.save({"model": {**floats, "more": Evil()}, "evil": Evil()}, HERE / "evil.pth")
torch.save({"model": floats}, HERE / "before_1_6.pth", _use_new_zipfile_serialization=False)
wrong = dict(floats)
wrong["blocks.1.mlp.fc1.wieght"] = wrong.pop("blocks.1.mlp.fc1.weight")
torch.save({"model": wrong}, HERE / "renamed.pth")
torch.save({"model": {**floats, "blocks.1.mlp.fc1.weight": floats["blocks.1.mlp.fc1.weight"].t()}}, HERE / "reshaped.pth")
for left in (HERE / "saved").iterdir():
    left.unlink()
(HERE / "saved").rmdir()
# DINO's ViT as PyTorch exports it since 2.9, for two images of one size: the class token is laid out twice.
net = vit.VisionTransformer(**sizes).eval()
net.load_state_dict(floats)
torch.onnx.export(net, (torch.randn(2, 3, 8, 8),), HERE / "vit.onnx", dynamo=True, external_data=False)
# What an export tells of itself is most of so small a file, and nothing that is read.
export = onnx.load(HERE / "vit.onnx")
for part in [export, export.graph, *export.graph.node, *export.graph.input, *export.graph.output, *export.graph.value_info]:
    del part.metadata_props[:]
del export.graph.value_info[:]
onnx.save(export, HERE / "vit.onnx")
made_with = {library.__name__: library.__version__ for library in (numpy, onnx, safetensors, timm, torch, transformers)}
(HERE / "versions.json").write_text(json.dumps(made_with, indent=1) + "\n")
