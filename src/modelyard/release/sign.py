"""The step release.sign: a release's files, signed with a key that stays where it is."""

from __future__ import annotations

import os

from .. import signing
from ..errors import ProjectError
from ..records.shapes import Inputs, Output, Workspace
from .settings import SignSettings


def run(settings: SignSettings, inputs: Inputs, workspace: Workspace) -> Output:
    """Sign every file of the release. The key is read, and neither it nor its password is kept.

    Raises SourceError for a key that cannot be used, ProjectError for a variable that is not set.
    """
    (key,) = inputs.sources
    (name,) = key.files
    password = os.environ.get(settings.password_env) if settings.password_env else None
    if settings.password_env and password is None:
        raise ProjectError(f"{settings.password_env} is not set", try_="export it, then sign again")
    signing.sign(inputs.one("release").folder, key.path(name), workspace.out / signing.FILE, password)
    return Output()
