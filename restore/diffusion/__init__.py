"""Diffusion pipelines: found, checked, loaded and placed. What the stage `refine` and clip
generation share; nothing here knows either.

Public interface, by module:

- ``extra``: :func:`~restore.diffusion.extra.need_diffusers` gives the ``diffusers`` module, or
  raises :class:`restore.errors.MissingExtra` with the pip command. Call it first; import diffusers,
  transformers and peft nowhere at the top of a module.
- ``folder``: :func:`~restore.diffusion.folder.find_pipeline` takes a local folder or a hub id with
  a pinned revision and gives a :class:`~restore.diffusion.folder.PipelineFolder`: class, parts, and
  the sha256 and length of every weights file. Pickles and foreign code are refused; missing weights
  are an error that says what to pull, how large it is and under which licence.
- ``known``: what is known of published pipelines: size, licence, whether they are gated.
- ``load``: :func:`~restore.diffusion.load.load_pipeline` makes a pipeline of a diffusers class from
  such a folder, float32 on the CPU; :func:`~restore.diffusion.load.pipeline_class` looks up the
  class for a task (``image-to-image``, ``text-to-image``, ``inpaint``, or a class by name).
- ``place``: :func:`~restore.diffusion.place.choose_format` says bf16, fp16 or fp32 by what a model
  bears; :func:`~restore.diffusion.place.place_pipeline` brings it to a device after asking whether
  it fits, and says what would fit where it does not.
- ``schedule``: :func:`~restore.diffusion.schedule.set_scheduler` by a short name.
- ``lora``: :func:`~restore.diffusion.lora.apply_lora` adds a LoRA to a loaded pipeline's weights
  before it is placed; one with keys that nothing takes, or of another base model, is refused.
- ``prompts``: :func:`~restore.diffusion.prompts.cut_words` says what of a prompt the text encoders
  do not see.
"""
