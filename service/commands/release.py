"""`sitbone knowledge sign`, `verify`, `status` and `closure`: what of a folder of knowledge is signed, and by whom."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from service.knowledge_model.loader import load
from service.knowledge_model.model import Knowledge
from service.release.states import Release, release_of
from service.settings import Settings


def release_in(folder: Path | None, knowledge: Knowledge | None = None) -> Release:
    """The release of the knowledge in a folder, by the signers of the settings; without one that of the settings.

    Raises SettingsError and KnowledgeError.
    """
    settings = Settings.from_environment(os.environ)
    if folder:
        settings = replace(settings, knowledge_dir=folder, snomed_ct="all")
    return release_of(settings, knowledge or load(settings.knowledge_dir))
