"""A session on disk: where things lie, its settings file, what each stage recorded, its lock."""

from typing import TYPE_CHECKING

from icefloe._lazy import lazy_names

if TYPE_CHECKING:
    from icefloe.project.layout import STAGES, Project
    from icefloe.project.lock import project_lock
    from icefloe.project.records import ExposureRecord, Failure, load_record, load_records
    from icefloe.project.settings_file import parse_assignment, read_settings, write_settings
    from icefloe.project.sidecar import FileIdentity, Sidecar, read_sidecar, write_sidecar
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "STAGES": "layout",
            "Project": "layout",
            "project_lock": "lock",
            "ExposureRecord": "records",
            "Failure": "records",
            "load_record": "records",
            "load_records": "records",
            "parse_assignment": "settings_file",
            "read_settings": "settings_file",
            "write_settings": "settings_file",
            "FileIdentity": "sidecar",
            "Sidecar": "sidecar",
            "read_sidecar": "sidecar",
            "write_sidecar": "sidecar",
        },
    )

__all__ = [
    "STAGES",
    "ExposureRecord",
    "Failure",
    "FileIdentity",
    "Project",
    "Sidecar",
    "load_record",
    "load_records",
    "parse_assignment",
    "project_lock",
    "read_settings",
    "read_sidecar",
    "write_settings",
    "write_sidecar",
]
