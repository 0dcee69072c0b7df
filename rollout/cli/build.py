"""``rollout build``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from rollout.cli.common import command_line, output_option, read_config, show
from rollout.units import size


@click.command("build")
@click.option(
    "--source", metavar="DIR", help="Build this, a folder or installed, instead of what is configured."
)
@click.option(
    "--image/--no-image", default=None, help="Also as an image; by default where an environment needs it."
)
@output_option
@click.pass_context
def command(context: click.Context, source: str | None, image: bool | None, output: str) -> None:
    """Build the services once: their wheel and the locked wheels they need, and an image of them.

    The same source gives the same build, by digest, and on the same base the same image. Every
    environment gets these very files. In the local engine the last image of the configured source is
    "latest", for "docker-compose up" in compose/.

    \b
    Example:
      rollout build
      rollout build --image
    """
    from rich.console import Console

    from rollout.build import build
    from rollout.build.source import find_source

    config = read_config(context)
    chosen = config.source
    if source is not None:
        chosen = "installed" if source == "installed" else Path(source).absolute()
    root = config.path.parent
    with Console(stderr=True).status("building") as status:
        made = build(chosen, config.builds_dir, lock_root=root, on_progress=status.update)
        ref = None
        if config.needs_image if image is None else image:
            from rollout.build.image import build_image, call_latest

            ref = build_image(
                made,
                find_source(chosen, root).folder,
                project=config.project,
                base=config.image.base,
                on_progress=status.update,
            )
            if source is None:  # other folders hold trials
                call_latest(ref, config.project)
    lines = [made.id, *([f"image {ref.tag} {ref.id}, {size(ref.size)}"] if ref else [])]
    first = next(env.name for env in config.environments.values() if env.after is None)
    lines.append(f"next: {command_line(context, 'deploy', first)}")
    show(output, {**asdict(made), "image": ref and asdict(ref)}, lambda: "\n".join(lines))
