"""Settings of the service: one TOML file, and the environment over it."""

from __future__ import annotations

import os
from contextvars import ContextVar
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from restore.errors import InvalidInput
from restore.validation import refusal

__all__ = ["ServiceSettings", "load_settings"]


_DAY_S = 86_400.0

#: The file that is being read, for the class's own list of sources.
_FILE: ContextVar[Path | None] = ContextVar("file", default=None)


class ServiceSettings(BaseSettings):
    """Everything that may be set of a server; every field is ``RESTORE_SERVICE_...`` too.

    Attributes:
        address: host and port to listen on. Beyond loopback, TLS and tokens or client certificates
            are required; port 0 takes a free one.
        storage: folder of the journal, uploads, chunks and deliverables.
        devices: one worker for each; ``auto`` is the first GPU, or the CPU.
        tls_certificate: PEM file of the server's chain.
        tls_key: PEM file of its key.
        tls_client_ca: PEM file of the authority that clients' certificates must come from (mTLS).
        tokens: bearer tokens by the principal whom they stand for.
        max_width_px: largest picture.
        max_height_px: largest picture.
        max_frames: longest clip.
        max_upload_bytes: largest upload.
        max_streams: live streams at a time.
        max_stream_s: longest live stream.
        max_jobs: jobs that one principal may have waiting or running.
        max_job_pixels: frames times pixels of the result, of one principal's jobs that have not
            ended.
        max_stored_bytes: uploads of one principal.
        keep_uploads_s: an upload that nobody has written to or used for so long is removed, unless
            a job that has not ended needs it; 0 keeps it for ever.
        keep_jobs_s: a job that ended so long ago is removed with its result; 0 keeps it for ever.
        max_kept_bytes: of all uploads and results; beyond it those that were not used longest are
            removed, uploads first; 0 for no limit.
        queue_bytes: frames of one live stream that may wait, on each side.
        shared_bytes: shared memory of all live streams together; beyond it frames travel in pieces.
        chunk_frames: frames of a job's chunk.
        threads: threads of torch in one worker; all cores where None.
        metrics_address: host and port of Prometheus metrics; none where empty.
        pipelines: diffusion pipelines that clients may name: a folder, or a hub id, ``@`` and the
            commit.
        loras: LoRA files that clients may name.
        dev: reflection.
    """

    model_config = SettingsConfigDict(env_prefix="RESTORE_SERVICE_", extra="forbid", frozen=True)

    address: str = "127.0.0.1:50551"
    storage: Path = Path("restore-storage")
    devices: tuple[str, ...] = ("auto",)
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    tokens: dict[str, str] = Field(default_factory=dict)
    max_width_px: int = Field(default=8192, ge=16)
    max_height_px: int = Field(default=8192, ge=16)
    max_frames: int = Field(default=1_000_000, ge=1)
    max_upload_bytes: int = Field(default=50 << 30, ge=1)
    max_streams: int = Field(default=64, ge=1)
    max_stream_s: float = Field(default=86_400.0, gt=0)
    max_jobs: int = Field(default=1000, ge=1)
    max_job_pixels: int = Field(default=10**14, ge=1)
    max_stored_bytes: int = Field(default=500 << 30, ge=1)
    keep_uploads_s: float = Field(default=30 * _DAY_S, ge=0)
    keep_jobs_s: float = Field(default=90 * _DAY_S, ge=0)
    max_kept_bytes: int = Field(default=1 << 40, ge=0)
    queue_bytes: int = Field(default=64 << 20, ge=1)
    shared_bytes: int = Field(default=2 << 30, ge=0)
    chunk_frames: int = Field(default=48, ge=1)
    threads: int | None = Field(default=None, ge=1, le=1024)
    metrics_address: str = ""
    pipelines: dict[str, str] = Field(default_factory=dict)
    loras: dict[str, Path] = Field(default_factory=dict)
    dev: bool = False

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given by name first, then the environment, then the file."""
        named = _FILE.get() or os.environ.get("RESTORE_SERVICE_CONFIG")
        file = TomlConfigSettingsSource(settings_cls, toml_file=named) if named else None
        return (init_settings, env_settings, *((file,) if file else ()))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.address.startswith("unix:"):
            return True
        host = self.address.rpartition(":")[0].strip("[]")
        try:
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False  # a name, which may stand for any address

    @property
    def has_tls(self) -> bool:
        """Whether the server has a certificate."""
        return self.tls_certificate is not None

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        if self.tls_client_ca is not None and not self.has_tls:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        if any(len(token) < 24 for token in self.tokens.values()):
            raise ValueError("tokens have at least 24 characters; take 32 random ones")
        if len(set(self.tokens.values())) < len(self.tokens):
            raise ValueError("two principals have the same token")
        if self.is_loopback:
            return self
        if not self.has_tls:
            raise ValueError(
                f"{self.address} can be reached from other machines: tls_certificate and tls_key "
                "are required there, or an address such as 127.0.0.1:50551"
            )
        if not self.tokens and self.tls_client_ca is None:
            raise ValueError(
                f"{self.address} can be reached from other machines: tokens or tls_client_ca are "
                "required there, so that jobs belong to somebody"
            )
        return self


def load_settings(file: Path | None = None, **given: object) -> ServiceSettings:
    """Read the settings: ``given`` over the environment over the file.

    Args:
        file: TOML file; ``$RESTORE_SERVICE_CONFIG`` where None.
        given: fields by name; None means not given.

    Raises:
        InvalidInput: the file is missing or no TOML, or a setting is wrong or unsafe.
    """
    if file is not None and not file.is_file():
        raise InvalidInput(f"settings file {str(file)!r}, which is not there")
    chosen = _FILE.set(file)
    named = {key: value for key, value in given.items() if value is not None}
    try:
        return ServiceSettings(**named)  # type: ignore[arg-type]
    except ValidationError as error:
        raise refusal(error, ServiceSettings, "the service's settings") from error
    except ValueError as error:
        raise InvalidInput(f"the service's settings cannot be read: {error}") from error
    finally:
        _FILE.reset(chosen)
