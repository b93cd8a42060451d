"""The worker process: sockets, plugins and a journal around a `session.Worker`."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import ssl
from collections.abc import Mapping
from typing import Any

import structlog
import uvloop

from sallyport.app.configuration import Source
from sallyport.app.folders import Folders
from sallyport.app.log import configure
from sallyport.config import Config
from sallyport.config.issuers import Issuer
from sallyport.config.models import Listener, ListenerTls
from sallyport.connect.tls import leaf, listener_context
from sallyport.core.decision import Mask
from sallyport.core.errors import ConfigError
from sallyport.core.operation import Parameter
from sallyport.core.ports import Recorder
from sallyport.masking.plan import text_masker
from sallyport.protocols import registry
from sallyport.protocols.base import Authentication, Plugin
from sallyport.recording.journal import Journal
from sallyport.recording.places import Places
from sallyport.session.gate import Conceal, Recordable
from sallyport.session.worker import ListenerSocket, Worker, raise_descriptor_limit
from sallyport.supervisor import DRAIN, end_with_supervisor
from sallyport.vault.errors import VaultError
from sallyport.vault.references import resolve_local

COLLECT = (50_000, 20, 100)
"""Thresholds of Python's collector: the parse tree of 1 MB is a million objects, none of them
garbage, and to look at them again and again takes five times as long as to read them."""

_log = structlog.get_logger("worker")


def run_worker(source: Source, name: str, sockets: Mapping[str, socket.socket]) -> int:
    """Run one worker until it is drained; return its exit code."""
    raise_descriptor_limit()
    try:
        config = source.read_in_force()
        configure(config.logging, name)
        plugins = registry.load(
            listener.protocol for listener in config.listeners if listener.name in sockets
        )
        listeners = [
            _listener(
                listener,
                sockets[listener.name],
                config.issuers,
                getattr(plugins[listener.protocol], "alpn", ()),
            )
            for listener in config.listeners
            if listener.name in sockets
        ]
    except ConfigError as error:
        _log.error("the configuration cannot be used", error=str(error))
        return 2
    return uvloop.run(_run(config, name, listeners, plugins))


async def _run(
    config: Config, name: str, listeners: list[ListenerSocket], plugins: Mapping[str, Plugin]
) -> int:
    folders = Folders(config.state)
    places = Places(folders.recording)
    journals: list[Journal] = []

    def open_journal(settings: Mapping[str, Any]) -> Recorder:
        key = settings.get("recording_key")
        journal = Journal(
            places.journals,
            name,
            key=key if isinstance(key, bytes) else None,
            reserve=config.recording.reserve,
            subject_bytes_per_hour=config.recording.subject_bytes_per_hour,
        )
        journals.append(journal)
        return journal

    worker = Worker(
        name=name,
        pid=os.getpid(),
        link_path=str(folders.link),
        journal=open_journal,
        journal_folder=str(places.journals),
        listeners=listeners,
        plugins=plugins,
        conceal=_concealing,
        maximum=config.sessions.maximum,
    )
    gc.freeze()
    gc.set_threshold(*COLLECT)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.drain, DRAIN)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    end_with_supervisor(loop)
    code = await worker.run()
    for journal in journals:
        if journal.lost is None:
            await journal.close("drained")
    return code


def _concealing(settings: Mapping[str, Any]) -> Conceal:
    """Return what masks recorded statements, with the key that results are masked with."""
    key = settings.get("mask_key")
    if not isinstance(key, bytes) or not key:
        raise ConfigError("control gave no key for masks")

    def conceal(
        text: str, parameters: tuple[Parameter, ...], masks: tuple[Mask, ...]
    ) -> Recordable:
        masker = text_masker(masks, key)
        if masker is None:
            return text, parameters
        return masker.mask_text(text), masker.mask_parameters(parameters)

    return conceal


def _listener(
    settings: Listener,
    sock: socket.socket,
    issuers: tuple[Issuer, ...],
    alpn: tuple[str, ...],
) -> ListenerSocket:
    tls: ssl.SSLContext | None = None
    certificate = b""
    if settings.tls is not None:
        try:
            tls, certificate = _context(settings.tls, alpn)
        except VaultError as error:
            raise ConfigError(f"listener `{settings.name}`: {error}") from None
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or "not PEM"
            raise ConfigError(
                f"listener `{settings.name}`: certificate and key cannot be used ({reason})"
            ) from None
    oauth = settings.oauth
    urls = {issuer.name: issuer.issuer for issuer in issuers}
    return ListenerSocket(
        name=settings.name,
        protocol=settings.protocol,
        socket=sock,
        tls=tls,
        tls_required=settings.tls is not None and settings.tls.required,
        domain=settings.domain or "",
        authentication=Authentication(
            mechanism=settings.authentication,
            certificate=certificate,
            issuer=urls.get(oauth.issuer, "") if oauth is not None else "",
            scope=oauth.scope if oauth is not None else "",
        ),
    )


def _context(settings: ListenerTls, alpn: tuple[str, ...]) -> tuple[ssl.SSLContext, bytes]:
    """Return a listener's TLS and its own certificate (DER).

    Raises: VaultError, ConfigError, ssl.SSLError, ValueError.
    """
    certificate = resolve_local(str(settings.certificate)).reveal()
    key = resolve_local(str(settings.key)).reveal()
    context = listener_context(certificate, key, alpn=alpn)
    if settings.client_ca is not None:
        authorities = resolve_local(str(settings.client_ca)).reveal()
        try:
            context = listener_context(certificate, key, authorities, alpn)
        except (ssl.SSLError, UnicodeDecodeError):
            raise ConfigError("`tls.client_ca` holds no certificates in PEM") from None
    return context, leaf(certificate)
