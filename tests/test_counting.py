"""Operations and bytes are counted as a network's own modules have them."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from torch import nn

from benchmarks import counting
from benchmarks.counting import Traffic, counted


def test_a_chain_of_convolutions_is_counted_layer_by_layer():
    size, form = (24, 40), torch.bfloat16
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.PReLU(8), nn.Conv2d(8, 6, 1))
    net.to("meta", form)
    picture = torch.empty(1, 3, *size, dtype=form, device="meta")
    found = counted("chain", lambda: net(picture), size, form)
    px = size[0] * size[1]
    weights = (8 * 3 * 9 + 8) + 8 + (6 * 8 + 6)
    assert found.operations == 2 * px * (8 * 3 * 9 + 6 * 8)
    assert found.bytes == 2 * (px * (3 + 8) + px * (8 + 8) + px * (8 + 6) + weights)
    assert set(found.most) == {"convolution", "_prelu_kernel"}


def test_shapes_alone_count_as_numbers_do():
    draw = torch.Generator().manual_seed(0)
    net = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    x = torch.rand(2, 5, 16, generator=draw)
    moved = []
    for device in ("cpu", "meta"):
        net, x = net.to(device), x.to(device)
        with torch.no_grad(), Traffic() as traffic:
            nn.functional.layer_norm(net.linear2(net.linear1(x).relu()) + x, (16,))
        moved.append(traffic.moved)
    assert moved[0] == moved[1]
    assert moved[0]["relu"] == 4 * 2 * (2 * 5 * 32)


def test_views_and_what_is_only_repeated_move_nothing_or_once():
    x = torch.empty(4, 6, device="meta")
    with torch.no_grad(), Traffic() as traffic:
        x.t().reshape(2, 12)[:1].unsqueeze(0)
    assert set(traffic.moved) == {"clone"}  # the turned one has to be laid out anew
    with torch.no_grad(), Traffic() as traffic:
        x[:1].expand(100, 6) + 1
    assert traffic.moved == {"add": 4 * (6 + 600)}
    with torch.no_grad(), Traffic() as traffic:
        x.zero_()
    assert traffic.moved == {"zero_": 4 * 24}


@pytest.mark.parametrize(
    ("name", "operations", "moved"),
    # 2.42 million operations a pixel; 33 steps that read and write 64 channels twice.
    [("general-x4v3", 2.42e6, 4 * 33 * 64 * 2), ("span-48", 0.85e6, None)],
)
def test_networks_are_counted_from_the_command_line(
    name, operations, moved, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "counts.json"
    asked = ["counting", "--size", "64x48", "--formats", "bfloat16", "--networks", name]
    monkeypatch.setattr(sys, "argv", [*asked, "--out", str(out)])
    counting.main()
    (row,) = json.loads(out.read_text())["rows"]
    assert row["operations"] / (64 * 48) == pytest.approx(operations, rel=0.02)
    if moved:
        # Weights, which so small a picture shows, are one in five bytes here.
        assert row["bytes"] == pytest.approx(moved * 64 * 48 + 2 * 1.21e6, rel=0.06)
    assert name in capsys.readouterr().out
