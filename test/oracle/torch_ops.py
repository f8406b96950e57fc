"""Writes vectors/torch.json: what PyTorch gives for every operation of lib/torch on small inputs,
for its generators, and for five steps of AdamW with clipping. test/torch has a line of TypeScript
for each name here.

Run: python test/oracle/torch_ops.py   (needs: pip install torch numpy)
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

torch.manual_seed(1234)


def make_inputs():
    r = torch.randn
    return {
        "x": r(2, 3),
        "row": r(3),
        "col": r(2, 1),
        "y": r(3, 2),
        "pos": torch.rand(2, 3) + 0.1,
        "half": r(2, 3).to(torch.bfloat16),
        "f16": r(2, 3).to(torch.float16),
        "f64": r(2, 3).to(torch.float64),
        "n": torch.tensor([[5, -3, 2], [0, 7, -8]]),
        "i32": torch.tensor([1, 2, 3], dtype=torch.int32),
        "u8": torch.tensor([200, 100, 3], dtype=torch.uint8),
        "mask": torch.tensor([[True, False, True], [False, False, True]]),
        "mask2": torch.tensor([True, False]),
        "ids": torch.tensor([2, 0, 2, 1]),
        "cols": torch.tensor([[0, 2], [1, 1]]),
        "pick": torch.tensor([1, 0]),
        "b1": r(2, 2, 3),
        "b2": r(2, 3, 2),
        "cube": r(2, 3, 4),
        "signal": r(2, 3, 8),
        "kernel": r(4, 3, 3),
        "bias": r(4),
        "weight": r(4, 3),
        "table": r(3, 5),
        "gain": r(3),
        "shift": r(3),
        "q": r(1, 2, 4, 4),
        "k": r(1, 2, 4, 4),
        "v": r(1, 2, 4, 4),
        "attend": torch.tensor([1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1]).bool().reshape(1, 1, 4, 4),
        "logits": r(5, 7) * 3,
        "targets": torch.tensor([1, -100, 6, 0, -100]),
        "ctcLogits": r(6, 2, 5),
        "ctcTargets": torch.tensor([1, 2, 2, 4, 3]),
        "ctcIn": torch.tensor([6, 5]),
        "ctcOut": torch.tensor([3, 2]),
    }


def operations(i):
    x, row, col, y, pos, n, mask = (i[k] for k in ("x", "row", "col", "y", "pos", "n", "mask"))
    cube = i["cube"]
    return {
        # arithmetic, broadcasting, promotion
        "add": x + row,
        "add broadcast both": col + row,
        "sub": x - col,
        "mul": x * row,
        "div": x / row,
        "pow": pos**row,
        "add scalar": x + 2.5,
        "sub scalar": x - 1,
        "mul scalar": x * -0.5,
        "div scalar": x / 4,
        "pow scalar": x**2,
        "int add int scalar": n + 2,
        "int add fraction": n + 0.5,
        "int mul int scalar": n * 3,
        "int div": n / 2,
        "int32 add int64": i["i32"] + n,
        "int32 mul int scalar": i["i32"] * 2,
        "uint8 wraps": i["u8"] + 100,
        "uint8 add int32": i["u8"] + i["i32"],
        "bool add bool": mask + mask,
        "bool mul float": mask * x,
        "half add float": i["half"] + x,
        "half add half": i["half"] + i["half"],
        "half mul scalar": i["half"] * 1.5,
        "half add int": i["half"] + n,
        "f16 add bf16": i["f16"] + i["half"],
        "f64 add f32": i["f64"] + x,
        "maximum": torch.maximum(x, row),
        "minimum": torch.minimum(x, row),
        "matmul": x @ y,
        "matmul vector": x @ row,
        "matmul batch": i["b1"] @ y,
        "bmm": torch.bmm(i["b1"], i["b2"]),
        "neg": -x,
        "abs": x.abs(),
        "exp": x.exp(),
        "log": pos.log(),
        "sqrt": pos.sqrt(),
        "rsqrt": pos.rsqrt(),
        "square": x.square(),
        "sin": x.sin(),
        "cos": x.cos(),
        "tanh": x.tanh(),
        "sigmoid": x.sigmoid(),
        "floor": x.floor(),
        "clamp": x.clamp(-0.5, 0.5),
        "isnan": (x.floor() / x.floor()).isnan(),
        "isfinite": (x / x.floor()).isfinite(),
        "logicalNot": mask.logical_not(),
        "logicalAnd": mask.logical_and(x > 0),
        "logicalOr": mask.logical_or(x > 0),
        "eq": n == i["i32"],
        "ne scalar": n != 2,
        "eq scalar": n == 2,
        "ne": n != i["i32"],
        "lt": x < row,
        "lt scalar": x < 0,
        "le": n <= i["i32"],
        "le scalar": n <= 2,
        "gt": x > row,
        "gt scalar": n > 0.5,
        "ge": n >= i["i32"],
        "ge scalar": n >= 2,
        # reductions
        "sum": x.sum(),
        "sum dim": cube.sum(1),
        "sum dims keep": cube.sum((0, -1), keepdim=True),
        "sum int": n.sum(),
        "sum bool": mask.sum(),
        "mean": x.mean(),
        "mean dim": cube.mean(-1, keepdim=True),
        "amax": cube.amax((0, 2)),
        "amax all": x.amax(),
        "amin": cube.amin(1),
        "var": x.var(),
        "var dim": cube.var(-1, correction=0, keepdim=True),
        "norm": x.norm(),
        "cumsum": n.cumsum(1),
        "argmax": cube.argmax(-1),
        "argmax keep": cube.argmax(1, keepdim=True),
        "topk values": cube.topk(2, -1).values,
        "topk indices": cube.topk(2, 1).indices,
        "sort values": cube.sort(-1).values,
        "sort indices": cube.sort(0, descending=True).indices,
        # shape
        "reshape": cube.reshape(4, -1),
        "permute": cube.permute(2, 0, 1),
        "transpose": cube.transpose(0, -1),
        "unsqueeze": x.unsqueeze(1),
        "squeeze": col.squeeze(-1),
        "expand": col.expand(2, 4),
        "flatten": cube.flatten(1),
        "contiguous": x.transpose(0, 1).contiguous(),
        "clone": x.clone(),
        "to bfloat16": x.to(torch.bfloat16),
        "to int64 truncates": (x * 3).to(torch.int64),
        "to bool": n.to(torch.bool),
        "viewDtype": i["i32"].view(torch.uint8),
        "repeatInterleave": x.repeat_interleave(2, 0),
        "flip": cube.flip((0, 2)),
        "tril": cube.tril(-1),
        "triu": cube.triu(1),
        "split": cube.split([1, 3], 2)[1],
        "pad": F.pad(x, (1, 2, 0, 1), value=9.0),
        # indexing
        "select": cube.select(1, -1),
        "narrow": cube.narrow(2, 1, 2),
        "slice": cube[:, :, 1::2],
        "slice negative": cube[:, -2:],
        "indexSelect": x.index_select(1, i["ids"]),
        "index": x[i["pick"], i["pick"]],
        "index bool": x[i["mask2"]],
        "gather": x.gather(1, i["cols"]),
        "scatter": x.scatter(1, i["cols"][:, :1], i["col"]),
        "indexAdd": y.index_add(0, i["ids"], cube[0, 0].reshape(4, 1).expand(4, 2)),
        "indexCopy": y.index_copy(0, i["pick"], i["b2"][0, :2]),
        "maskedFill": x.masked_fill(mask, -1.5),
        "maskedSelect": x.masked_select(mask),
        "maskedScatter": x.masked_scatter(mask, row),
        "where": torch.where(mask, x, col),
        "nonzero": mask.nonzero(),
        "cat": torch.cat([x, col], 1),
        "stack": torch.stack([x, pos], 1),
        # factories
        "arange": torch.arange(2, 11, 3),
        "arange float": torch.arange(0, 1, 0.25),
        "full int": torch.full((2,), 7, dtype=torch.int32),
        # networks
        "linear": F.linear(x, i["weight"], i["bias"]),
        "linear no bias": F.linear(i["b1"], i["weight"]),
        "embedding": F.embedding(i["ids"], i["table"]),
        "conv1d": F.conv1d(i["signal"], i["kernel"], i["bias"], stride=2, padding=1),
        "conv1d no bias": F.conv1d(i["signal"], i["kernel"]),
        "avgPool1d": F.avg_pool1d(i["signal"], 2, 2),
        "avgPool1d stride": F.avg_pool1d(i["signal"], 3, 2),
        "layerNorm": F.layer_norm(x, (3,), i["gain"], i["shift"], 1e-5),
        "layerNorm plain": F.layer_norm(cube, (3, 4)),
        "rmsNorm": F.rms_norm(x, (3,), i["gain"], 1e-6),
        "softmax": F.softmax(cube, 1),
        "logSoftmax": F.log_softmax(x, -1),
        "gelu": F.gelu(x),
        "silu": F.silu(x),
        "relu": F.relu(x),
        "attention": F.scaled_dot_product_attention(i["q"], i["k"], i["v"], scale=0.5),
        "attention causal": F.scaled_dot_product_attention(i["q"], i["k"], i["v"], is_causal=True, scale=0.3),
        "attention mask": F.scaled_dot_product_attention(i["q"], i["k"], i["v"], i["attend"], scale=0.5),
        "crossEntropySum": F.cross_entropy(i["logits"], i["targets"], reduction="sum"),
        "ctcLoss": F.ctc_loss(
            F.log_softmax(i["ctcLogits"], -1), i["ctcTargets"], i["ctcIn"], i["ctcOut"],
            reduction="sum", zero_infinity=True,
        ),
    }


def generators():
    def g():
        return torch.Generator().manual_seed(42)

    return {
        "rand": torch.rand(5, generator=g()),
        "randn": torch.randn(20, generator=g()),
        "randint": torch.randint(-3, 9, (6,), generator=g()),
        "randperm": torch.randperm(8, generator=g()),
        "multinomial": torch.multinomial(torch.tensor([0.1, 0.2, 0.7]), 6, True, generator=g()),
        "rand bfloat16": torch.rand(4, dtype=torch.bfloat16, generator=g()),
    }


def adamw():
    """Five steps on a least-squares loss; the norm is clipped in some of them, not in all."""
    x, target = torch.randn(4, 3), torch.randn(4, 2)
    weight, bias = torch.randn(2, 3).requires_grad_(), torch.randn(2).requires_grad_()
    start = {"x": x, "target": target, "weight": weight.detach().clone(), "bias": bias.detach().clone()}
    optimizer = torch.optim.AdamW(
        [{"params": [weight], "weight_decay": 0.1}, {"params": [bias], "weight_decay": 0.0}],
        betas=(0.8, 0.95), eps=1e-6,
    )
    steps = []
    for step in range(5):
        lr = 0.1 / (step + 1)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        loss = (F.linear(x, weight, bias) - target).square().sum()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([weight, bias], 16.0)
        optimizer.step()
        steps.append({"lr": lr, "loss": loss.item(), "norm": norm.item(),
                      "weight": weight.detach().flatten().tolist(), "bias": bias.tolist()})
    return {"start": {k: encode(v) for k, v in start.items()}, "maxNorm": 16.0, "steps": steps}


def encode(t):
    return {
        "dtype": str(t.dtype).removeprefix("torch."),
        "shape": list(t.shape),
        "values": t.double().flatten().tolist() if t.is_floating_point() else t.to(torch.int64).flatten().tolist(),
    }


def main():
    inputs = make_inputs()
    result = {
        "versions": {"torch": torch.__version__},
        "inputs": {name: encode(t) for name, t in inputs.items()},
        "operations": {name: encode(t) for name, t in operations(inputs).items()},
        "generators": {name: encode(t) for name, t in generators().items()},
        "adamw": adamw(),
    }
    lines = ",\n".join(
        f'"{part}": {{\n' + ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()) + "\n}"
        for part, value in result.items()
    )
    path = Path(__file__).parent / "vectors" / "torch.json"
    path.write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
