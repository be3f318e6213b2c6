"""A session on disk: where things lie, its settings file, what each stage recorded, its lock."""

from icefloe.project.layout import STAGES, Project
from icefloe.project.lock import project_lock
from icefloe.project.records import ExposureRecord, Failure, load_record, load_records
from icefloe.project.settings_file import parse_assignment, read_settings, write_settings
from icefloe.project.sidecar import FileIdentity, Sidecar, read_sidecar, write_sidecar

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
