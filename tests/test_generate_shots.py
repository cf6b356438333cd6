"""Shot lists in four forms, and what is said where one is wrong."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restore.errors import InvalidInput
from restore.generate.shot import Shot, seed_of
from restore.generate.shotlist import load_shots

NINE = Path(__file__).parent.parent / "docs" / "examples" / "nine-scenes.toml"

SEED = 3205165216845029563

TOML = """
[defaults]
kind = "camera"
image = "still.png"
fps = "24000/1001"

[defaults.move]
ease = "linear"

[[shots]]
name = "one"
frames = 24
width = 640
height = 360
seed = "blue"
prompt = "a street, wide"

[shots.move]
zoom = [1.0, 1.5]

[[shots]]
name = "two"
model = "flux"
kind = "text-to-image"
prompt = "a tram | at night"
lora = [{file = "a.safetensors", strength = 0.8, text_strength = 0.7, trigger = "sks tram"}]
"""

CSV = """name,kind,image,fps,frames,width,height,seed,prompt,move.zoom,move.ease,model,lora
one,camera,still.png,24000/1001,24,640,360,blue,"a street, wide",1.0;1.5,linear,,
two,text-to-image,,24000/1001,,,,,a tram | at night,,linear,flux,a.safetensors@0.8/0.7:sks tram
"""

MARKDOWN = "\n".join(
    [
        "# The shots",
        "",
        "| Name | kind | image | fps | frames | width | height | seed | prompt | move.zoom | "
        "move.ease | model | lora |",
        "|---|:---:|" + "---|" * 11,
        "| one | camera | still.png | 24000/1001 | 24 | 640 | 360 | blue | a street, wide | "
        "1.0;1.5 | linear | | |",
        "| two | text-to-image | | 24000/1001 | | | | | a tram \\| at night | | linear | flux | "
        "a.safetensors@0.8/0.7:sks tram |",
        "",
        "Words after it.",
    ]
)


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def as_json():
    import tomllib

    table = tomllib.loads(TOML)
    return json.dumps(table)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.toml", TOML), ("a.json", as_json()), ("a.csv", CSV), ("a.md", MARKDOWN)],
)
def test_every_form_says_the_same(tmp_path, name, text):
    shots = load_shots(written(tmp_path, name, text)).shots
    one, two = shots
    assert one == Shot(
        name="one",
        kind="camera",
        image="still.png",
        fps=Fraction(24000, 1001),
        frames=24,
        width=640,
        height=360,
        seed="blue",
        prompt="a street, wide",
        move={"zoom": (1.0, 1.5), "ease": "linear"},
    )
    assert (two.kind, two.model, two.prompt) == ("text-to-image", "flux", "a tram | at night")
    (lora,) = two.lora
    assert (lora.file, lora.strength, lora.text_strength) == ("a.safetensors", 0.8, 0.7)
    assert two.told == "sks tram, a tram | at night"


def test_the_nine_scenes_are_a_list():
    shots = load_shots(NINE).shots
    assert len(shots) == 9
    assert len({shot.number for shot in shots}) == 9
    assert {(s.width, s.height, s.fps) for s in shots} == {(768, 432, 12)}
    for shot in shots:
        assert shot.kind == "image-to-video"
        assert shot.negative_prompt
        assert shot.picture.lora[0].trigger == "ln9 tram"
        assert (shot.picture.lora[0].strength, shot.picture.lora[0].text_strength) == (0.8, 0.7)


def test_a_seed_name_is_the_same_number_everywhere():
    assert seed_of("lantern") == SEED
    assert Shot(name="a", prompt="p", model="m", seed=7).number == 7
    assert Shot(name="a", prompt="p", model="m").number == seed_of("a")
    assert Shot(name="a", prompt="p", model="m", seed="x").number == seed_of("x")


@given(st.text(max_size=30))
def test_seeds_fit_a_generator(name):
    assert 0 <= seed_of(name) < 2**63


WRONG = [
    ("a.toml", "[[shots]]\nname = 1", "shot 1"),
    ("a.toml", "[[shots]]\nname = 'a/b'\nmodel='m'\nprompt='p'", r"shot 1 \(a/b\).*letters"),
    ("a.toml", "[[shots]]\nname = '../x'\nmodel='m'\nprompt='p'", "letters"),
    ("a.toml", "[[shots]]\nname='a'\nkind='camera'", "image for kind 'camera'"),
    ("a.toml", "[[shots]]\nname='a'\nmodel='m'\nprompt='p'\nimage='x.png'", "no image for kind"),
    ("a.toml", "[[shots]]\nname='a'\nmodel='m'\nprompt='p'\nsteps=0", "'steps' = 0"),
    ("a.toml", "[[shots]]\nname='a'\nmodel='m'\nprompt='p'\nwidth=431", "even number"),
    ("a.toml", "[[shots]]\nname='a'\nmodel='m'\nprompt='p'\nfps='0'", "fps"),
    ("a.toml", "[[shots]]\nname='a'\nmodel='m'\nprompt='p'\nwindow=8\noverlap=8", "overlap"),
    ("a.toml", "[[shots]]\nname='a'\nmodel='m'\nprompt='p'\ncolour='red'", "'colour'.*one of"),
    ("a.toml", "shots = 3", "rows shots"),
    ("a.toml", "[other]", "other"),
    ("a.toml", "not toml", "no TOML"),
    ("a.json", "{", "no JSON"),
    ("a.csv", "name,kind\n", "no shot"),
    ("a.csv", "name,kind\na,camera,x\n", "shot 1 has 3 cells"),
    ("a.csv", "name,lora\na,b@x\n", "lora 'b@x'"),
    ("a.md", "# nothing\n", "no table"),
    ("a.txt", "x", r"\.toml, \.json"),
]


@pytest.mark.parametrize(("name", "text", "match"), WRONG)
def test_what_is_wrong_is_named(tmp_path, name, text, match):
    with pytest.raises(InvalidInput, match=f"(?s){match}"):
        load_shots(written(tmp_path, name, text))


def test_two_shots_of_one_name_are_refused(tmp_path):
    row = "[[shots]]\nname='{}'\nmodel='m'\nprompt='p'\n"
    path = written(tmp_path, "a.toml", row.format("Tram") + row.format("tram"))
    with pytest.raises(InvalidInput, match="shots 1 and 2"):
        load_shots(path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_shots(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="UTF-8"):
        load_shots(tmp_path / "b.toml")


def test_settings_that_decide_nothing_do_not_count():
    one = Shot(name="a", prompt="p", model="m", scene="words")
    other = Shot(name="a", prompt="p", model="elsewhere/m", scene="other words")
    assert one.canonical({"model": "h"}) == other.canonical({"model": "h"})
    assert one.canonical({"model": "h"}) != one.canonical({"model": "i"})
    assert one.canonical({}) != Shot(name="a", prompt="q", model="m").canonical({})
