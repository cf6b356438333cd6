"""A recipe with what a person asked for on top: scale, models, quality, delivery, seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction

from restore.errors import InvalidInput
from restore.recipe import QUALITIES, Recipe, Step, parse_scale
from restore.stages import check_settings

__all__ = ["DENOISE_MODEL", "Overrides", "adapted"]

#: The one model with a weak-denoise twin to interpolate with.
DENOISE_MODEL = "realesr-general-x4v3"
_NO_MODEL = "none"
_NETWORKS = ("deartifact", "upscale", "refine")
_INVENTIVE = ("upscale", "refine")


@dataclass(frozen=True)
class Overrides:
    """What departs from a recipe. None means: as the recipe has it.

    Attributes:
        scale: output size over input size: ``4``, ``3/2``, ``2x``. Above 1 it is reached by the
            upscale stage, which is added where the recipe has none; 1 and below drop that stage.
        model: network of the upscale stage.
        deartifact_model: network of the de-artifact stage; ``none`` drops the stage.
        denoise_strength: 0..1, for realesr-general-x4v3, which is taken where no model is named.
        quality: ``fast``, ``good`` or ``best``.
        look: ``faithful`` or ``vivid``, of the network that ships for upscaling.
        invent: 0..1, how far stages that may invent detail may go from what the source shows.
        fps: frame rate of the result, ``25``, ``60000/1001`` or ``2x``: new frames are made.
        slowmo: seconds of the result for each second of the source.
        codec: delivery profile; another than the recipe's starts from that profile's defaults.
        crf: constant rate factor.
        speed: encoder speed.
        bit_depth: bits of a delivered sample.
        encoder: ``software``, or ``hardware`` where the machine has one for the codec.
        seed: changes every random choice.
        crop: ``LEFT:TOP:RIGHT:BOTTOM`` in pixels, or ``auto``.
        no_networks: drop every stage that needs weights, and with them the wish for another size.
    """

    scale: str | int | float | Fraction | None = None
    model: str | None = None
    deartifact_model: str | None = None
    denoise_strength: float | None = None
    quality: str | None = None
    codec: str | None = None
    crf: int | None = None
    speed: str | None = None
    bit_depth: int | None = None
    seed: int | None = None
    no_networks: bool = False
    look: str | None = None
    fps: str | int | Fraction | None = None
    slowmo: str | int | float | Fraction | None = None
    invent: float | None = None
    crop: str | None = None
    encoder: str | None = None

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """What can be overridden."""
        return tuple(entry.name for entry in fields(cls))


def adapted(recipe: Recipe, wanted: Overrides) -> Recipe:
    """The recipe with the overrides put in.

    Raises:
        InvalidInput: a value out of range, or a setting for a stage that is not there.
    """
    if _drops_upscale(wanted):
        recipe = replace(recipe, look="faithful")  # the recipe's own look goes with its stage
    if wanted.no_networks:
        recipe = _without_networks(recipe, wanted)
    recipe = _with_scale(recipe, wanted.scale)
    recipe = _with_deartifact(recipe, wanted.deartifact_model)
    recipe = _with_upscale(recipe, wanted)
    recipe = _with_look(recipe, wanted)
    recipe = _with_invent(recipe, wanted.invent)
    recipe = _with_rate(recipe, wanted)
    if wanted.quality is not None:
        if wanted.quality not in QUALITIES:
            raise InvalidInput(f"quality {wanted.quality!r}", f"one of {', '.join(QUALITIES)}")
        recipe = replace(recipe, quality=wanted.quality)
    if wanted.crop is not None:
        recipe = replace(recipe, crop=wanted.crop)
    if wanted.seed is not None:
        if wanted.seed < 0:
            raise InvalidInput(f"seed {wanted.seed}", "0 or more")
        recipe = replace(recipe, seed=wanted.seed)
    return replace(recipe, delivery=_delivery(recipe.delivery, wanted))


def _with_rate(recipe: Recipe, wanted: Overrides) -> Recipe:
    settings = {
        name: str(value)
        for name, value in (("fps", wanted.fps), ("slowmo", wanted.slowmo))
        if value is not None
    }
    if not settings or _has(recipe, "interpolate"):
        return recipe.with_settings("interpolate", **settings)
    check_settings("interpolate", settings)
    # Grain is given back to every frame by itself, so to new ones too.
    names = [step.stage for step in recipe.steps]
    at = names.index("regrain") if "regrain" in names else len(names)
    steps = (*recipe.steps[:at], Step("interpolate", settings), *recipe.steps[at:])
    return replace(recipe, steps=steps)


def _with_invent(recipe: Recipe, invent: float | None) -> Recipe:
    if invent is None:
        return recipe
    stages = [stage for stage in _INVENTIVE if _has(recipe, stage)]
    if not stages:
        raise InvalidInput(
            f"invent {invent:g} for recipe {recipe.name!r}, in which nothing invents",
            f"a recipe with {' or '.join(_INVENTIVE)}",
        )
    for stage in stages:
        recipe = recipe.with_settings(stage, invent=invent)
    return recipe


def _has(recipe: Recipe, stage: str) -> bool:
    return any(step.stage == stage for step in recipe.steps)


def _without_networks(recipe: Recipe, wanted: Overrides) -> Recipe:
    named = [
        f"{name} {value}"
        for name, value in (("model", wanted.model), ("de-artifact model", wanted.deartifact_model))
        if value not in (None, _NO_MODEL)
    ]
    if wanted.scale is not None and parse_scale(str(wanted.scale)) > 1:
        named.append(f"scale {wanted.scale}")
    if named:
        raise InvalidInput(
            f"no networks, and {' and '.join(named)}",
            "one or the other, since that needs a network",
        )
    for stage in _NETWORKS:
        recipe = recipe.without(stage)
    return replace(recipe, scale=None)


def _with_scale(recipe: Recipe, wanted: str | int | float | Fraction | None) -> Recipe:
    if wanted is None:
        return recipe
    scale = parse_scale(str(wanted))
    if scale <= 1:
        # A network that makes the picture larger only for it to be shrunk again is wasted.
        recipe = recipe.without("upscale").without("resize")
    elif not _has(recipe, "upscale"):
        recipe = replace(recipe, steps=(*recipe.steps, Step("upscale")))
    return replace(recipe, scale=scale)


def _drops_upscale(wanted: Overrides) -> bool:
    smaller = wanted.scale is not None and parse_scale(str(wanted.scale)) <= 1
    return wanted.no_networks or smaller


def _with_look(recipe: Recipe, wanted: Overrides) -> Recipe:
    if wanted.look is None:
        return recipe
    if wanted.model is not None:
        raise InvalidInput(
            f"look {wanted.look!r} and model {wanted.model!r}",
            "one of the two, since a named model has a look of its own",
        )
    return replace(recipe, look=wanted.look)


def _with_deartifact(recipe: Recipe, model: str | None) -> Recipe:
    if model is None:
        return recipe
    if model.lower() == _NO_MODEL:
        return recipe.without("deartifact")
    if not _has(recipe, "deartifact"):
        settings = {"model": model}
        check_settings("deartifact", settings)
        return replace(recipe, steps=(Step("deartifact", settings), *recipe.steps))
    return recipe.with_settings("deartifact", model=model)


def _with_upscale(recipe: Recipe, wanted: Overrides) -> Recipe:
    model = wanted.model
    given = [
        option
        for option, value in (
            ("a model", model),
            ("a denoise strength", wanted.denoise_strength),
        )
        if value is not None
    ]
    if given and not _has(recipe, "upscale"):
        raise InvalidInput(
            f"{' and '.join(given)} for upscaling, which recipe {recipe.name!r} does not do"
            + (f" at scale {wanted.scale}" if wanted.scale is not None else ""),
            "a recipe that upscales, or a scale above 1",
            "Add --scale 4, or name a de-artifact network with --deartifact-model.",
        )
    named = [step.settings.get("model") for step in recipe.steps if step.stage == "upscale"]
    if wanted.denoise_strength is not None and model is None and not any(named):
        model = DENOISE_MODEL
    return recipe.with_settings("upscale", model=model, denoise_strength=wanted.denoise_strength)


def _delivery(recipe: Mapping[str, object], wanted: Overrides) -> dict[str, object]:
    delivery = dict(recipe)
    if wanted.codec is not None and wanted.codec != delivery.get("profile"):
        # A crf of one codec means nothing to another, nor does a speed that was named for it.
        is_auto = delivery.get("speed") == "auto"
        delivery = {"profile": wanted.codec, **({"speed": "auto"} if is_auto else {})}
    for name in ("crf", "speed", "bit_depth", "encoder"):
        value = getattr(wanted, name)
        if value is not None:
            delivery[name] = value
    if wanted.bit_depth is not None:
        delivery.pop("pixel_format", None)
    return delivery
