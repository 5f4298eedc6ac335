"""Golden numbers for vision transformers: timm's own, made tiny, with random weights.

Needs: pip install torch timm safetensors  (versions used are written into versions.json)
Run:   python make_vit.py OUT_DIR [SEED]

Everything is computed in float64 and stored as float32 (inputs and weights are exactly representable in float32).

Files written: dino.safetensors, dinov2.safetensors, dinov2_reg4.safetensors, each with
  w.*                     weights under timm's names
  x                       images of another size than that of the learnt positions; square: images of that size
  eval.tokens             all tokens after the last norm; eval.cls_attention: softmax row of the class token in the last block
  square.tokens           the same for `square`, whose positions are used as they are
  plain.tokens            eval.tokens, had the positions been interpolated without antialiasing (as Hugging Face's Dinov2Model does)
  offset.tokens           the same with the scale factors of facebookresearch/dino and dinov2: (new + 0.1) / old
  train.cls, train.direction, grad.*, grad.x   class token in training, and all gradients of sum(cls * direction)
  drop.factors            (blocks, 2, images): what drop path multiplies the two branches of each block by
  drop.cls, drop.grad.x, drop.grad.*           class token and some gradients under these factors
"""
import json
import math
import sys
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models import vision_transformer

OUT = Path(sys.argv[1])
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 0
OUT.mkdir(parents=True, exist_ok=True)
torch.manual_seed(SEED)
torch.set_num_threads(1)
vision_transformer.use_fused_attn = lambda *_, **__: False
DEPTH = 2


def exact(t):
    return t.to(torch.float32).to(torch.float64)


def randomise(model):
    """Give every parameter a value that matters (LayerScale, biases, class and register tokens included)."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "gamma" in name:
                p.copy_(0.5 + 0.5 * torch.rand_like(p))
            elif "token" in name or "pos_embed" in name:
                p.copy_(torch.randn_like(p))
            elif p.ndim > 1:
                p.copy_(torch.randn_like(p) * (1.2 / math.sqrt(p[0].numel())))
            elif name.endswith("weight"):
                p.copy_(0.8 + 0.4 * torch.rand_like(p))
            else:
                p.copy_(0.1 * torch.randn_like(p))
            p.copy_(exact(p))


def image_like(*shape):
    return exact(torch.rand(*shape, dtype=torch.float64) * 2 - 1)


def without_antialiasing(scale):
    """Interpolates as other programs do; `scale` gives the factors or None for the ratio of the sizes."""
    def resample(posemb, new_size, old_size=None, num_prefix_tokens=1, **_):
        prefix, rest = posemb[:, :num_prefix_tokens], posemb[:, num_prefix_tokens:]
        side = int(math.sqrt(rest.shape[1]))
        rest = rest.reshape(1, side, side, -1).permute(0, 3, 1, 2)
        how = dict(size=tuple(new_size)) if scale is None else dict(scale_factor=tuple((n + scale) / side for n in new_size))
        rest = F.interpolate(rest, mode="bicubic", align_corners=False, **how)
        assert tuple(rest.shape[-2:]) == tuple(new_size)
        return torch.cat([prefix, rest.permute(0, 2, 3, 1).flatten(1, 2)], 1)
    return resample


def drop_path(model, factors):
    """Makes the blocks multiply their branches by these factors."""
    class Fixed(torch.nn.Module):
        def __init__(self, by):
            super().__init__()
            self.by = by

        def forward(self, x):
            return x * self.by.view(-1, 1, 1)

    for block, by in zip(model.blocks, factors):
        block.drop_path1, block.drop_path2 = Fixed(by[0]), Fixed(by[1])


def case(file, name, patch, side, size):
    model = timm.create_model(name, pretrained=False, num_classes=0, img_size=side, patch_size=patch, embed_dim=16, depth=DEPTH,
                              num_heads=2, dynamic_img_size=True).double()
    randomise(model)
    weights = {"w." + k: v.clone() for k, v in model.state_dict().items()}
    x, square = image_like(2, 3, *size), image_like(1, 3, side, side)
    model.eval()
    seen = {}

    def grab(attn, args):
        u = args[0]
        b, n, c = u.shape
        q, k, _ = attn.qkv(u).reshape(b, n, 3, attn.num_heads, c // attn.num_heads).permute(2, 0, 3, 1, 4).unbind(0)
        seen["a"] = (q[:, :, :1] * (c // attn.num_heads) ** -0.5 @ k.transpose(-2, -1)).softmax(-1).squeeze(2)

    handle = model.blocks[-1].attn.register_forward_pre_hook(grab)
    tokens = model.forward_features(x)
    handle.remove()
    out = {"x": x, "square": square, "eval.tokens": tokens, "eval.cls_attention": seen["a"],
           "square.tokens": model.forward_features(square)}
    own = vision_transformer.resample_abs_pos_embed
    for how, scale in [("plain", None), ("offset", 0.1)]:
        vision_transformer.resample_abs_pos_embed = without_antialiasing(scale)
        out[how + ".tokens"] = model.forward_features(x)
    vision_transformer.resample_abs_pos_embed = own

    model.train()
    xg = x.clone().requires_grad_(True)
    cls = model.forward_features(xg)[:, 0]
    direction = image_like(*cls.shape)
    (cls * direction).sum().backward()
    out |= {"train.cls": cls, "train.direction": direction, "grad.x": xg.grad.clone()}
    out |= {"grad." + k: p.grad.clone() for k, p in model.named_parameters()}

    # As drop path at a rate of 1/2: a branch of an image is left out, or doubled.
    factors = torch.tensor([[[0.0, 2.0], [2.0, 2.0]], [[2.0, 0.0], [0.0, 2.0]]], dtype=torch.float64)
    drop_path(model, factors)
    model.zero_grad()
    xg = x.clone().requires_grad_(True)
    cls = model.forward_features(xg)[:, 0]
    (cls * direction).sum().backward()
    out |= {"drop.factors": factors, "drop.cls": cls, "drop.grad.x": xg.grad.clone()}
    named = dict(model.named_parameters())
    some = ["pos_embed", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc2.bias", "blocks.1.attn.proj.weight", "blocks.1.mlp.fc1.bias"]
    out |= {"drop.grad." + k: named[k].grad.clone() for k in some}
    tensors = {k: v.detach().to(torch.float32).contiguous().clone() for k, v in (weights | out).items()}
    save_file(tensors, OUT / f"{file}.safetensors",
              metadata=dict(of=name, patch=str(patch), side=str(side), dim="16", heads="2", depth=str(DEPTH),
                            registers=str(model.num_reg_tokens), layer_scale=str("blocks.0.ls1.gamma" in named).lower()))


case("dino", "vit_small_patch16_224", 4, 16, (12, 20))
case("dinov2", "vit_small_patch14_dinov2", 6, 30, (18, 12))
case("dinov2_reg4", "vit_small_patch14_reg4_dinov2", 6, 12, (18, 24))
(OUT / "versions.json").write_text(json.dumps(dict(torch=torch.__version__, timm=timm.__version__, seed=SEED)) + "\n")
