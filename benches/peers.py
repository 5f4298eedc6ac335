"""The kernels of `kernels.rs` by PyTorch, on the same shapes: one line `name seconds` each. usage: peers.py THREADS

Needs torch and timm. `FLOW_PYTHON=python cargo bench` runs it and sets its times beside ours.
"""
import sys
import time

import torch
from timm.utils.agc import adaptive_clip_grad
from torch.nn import functional as F

torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
ROWS, DIM, HEADS, SIDE, BATCH = 3136, 384, 8, 28, 4


def best(name, run):
    run()
    times = []
    for _ in range(7):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    print(name, min(times))


def both(name, forward, *inputs):
    """Times the forward pass without a graph, and the backward pass alone."""
    with torch.no_grad():
        best(f"{name} forward", lambda: forward(*inputs))
    out = forward(*[x.requires_grad_() for x in inputs])
    d = torch.randn_like(out)
    best(f"{name} backward", lambda: torch.autograd.grad(out, inputs, d, retain_graph=True))


def xca(qkv, temperature):
    q, k, v = qkv.reshape(BATCH, -1, 3, HEADS, DIM // HEADS).permute(2, 0, 3, 4, 1).unbind(0)
    attention = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * temperature).softmax(dim=-1)
    return (attention @ v).permute(0, 3, 1, 2).reshape(BATCH, -1, DIM)


for inputs, outputs in ((DIM, 3 * DIM), (DIM, DIM), (DIM, 4 * DIM), (4 * DIM, DIM)):
    x, w, y = torch.randn(ROWS, inputs), torch.randn(outputs, inputs), torch.randn(ROWS, outputs)
    best(f"linear {inputs}->{outputs} forward", lambda: x @ w.t())
    best(f"linear {inputs}->{outputs} input", lambda: y @ w)
    best(f"linear {inputs}->{outputs} weights", lambda: y.t() @ x)
tokens = torch.randn(BATCH, SIDE * SIDE, DIM)
best("gram", lambda: tokens.transpose(1, 2) @ tokens)
both("layer_norm", lambda x, w, b: F.layer_norm(x, (DIM,), w, b, 1e-6), torch.randn(ROWS, DIM), torch.randn(DIM), torch.randn(DIM))
both("gelu", F.gelu, torch.randn(ROWS, 4 * DIM))
maps = lambda: torch.randn(BATCH, DIM, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
mean, var = torch.zeros(DIM), torch.ones(DIM)
both("batch_norm", lambda x, w, b: F.batch_norm(x, mean, var, w, b, True), maps(), torch.randn(DIM), torch.randn(DIM))
both("depthwise", lambda x, w, b: F.conv2d(x, w, b, padding=1, groups=DIM), maps(), torch.randn(DIM, 1, 3, 3), torch.randn(DIM))
both("xca", xca, torch.randn(BATCH, SIDE * SIDE, 3 * DIM), torch.ones(HEADS, 1, 1))

# As many parameters as XCiT-S/12 and DINO's head, in matrices of the MLP's shape.
params = [torch.randn(4 * DIM, DIM).requires_grad_() for _ in range(81)]
teacher = [p.detach().clone() for p in params]
optimiser = torch.optim.AdamW(params, lr=1e-4, weight_decay=0.04)
for p in params:
    p.grad = torch.randn_like(p)


def step():
    adaptive_clip_grad(params, 0.32)
    optimiser.step()
    with torch.no_grad():
        for t, p in zip(teacher, params):
            t.mul_(0.996).add_(p, alpha=0.004)


best("optimiser", step)
