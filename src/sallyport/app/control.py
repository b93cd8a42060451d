"""The control process: control, the recordings' follower and the API in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import ssl
import time

import structlog
import uvloop
from sqlalchemy.exc import SQLAlchemyError

from sallyport.app.configuration import Source
from sallyport.app.folders import Folders
from sallyport.app.log import configure
from sallyport.app.side import SideServices, inspect_target
from sallyport.app.survey import SurveyDesk
from sallyport.app.tools import (
    PolicyDesk,
    ReachDesk,
    listener_states,
    login_providers,
    measures,
    target_states,
)
from sallyport.config import Config
from sallyport.connect.tls import listener_context
from sallyport.control.control import Control
from sallyport.core.errors import ConfigError, SallyportError
from sallyport.core.event import Audited
from sallyport.policy import Policy, PolicyError
from sallyport.recording.follow import Follower
from sallyport.recording.journal import Journal
from sallyport.recording.library import Library
from sallyport.recording.places import Places
from sallyport.recording.retention import Keeping, Retention, Rules
from sallyport.session.worker import raise_descriptor_limit
from sallyport.supervisor import end_with_supervisor
from sallyport.vault.references import resolve_local
from sallyport.web.app import create_app
from sallyport.web.server import create_server
from sallyport.web.services import Readiness, WebServices

WRITER = "control"
"""The name under which control keeps its own journal."""

RETENTION = 300.0
"""Seconds between two looks for recordings past their time; a reload brings one about at once."""

_log = structlog.get_logger("control")


def run_control(source: Source, sock: socket.socket) -> int:
    """Run control until SIGTERM; return its exit code."""
    raise_descriptor_limit()
    try:
        config = source.read_in_force()
        configure(config.logging, "control")
        return uvloop.run(ControlProcess(source, config).run(sock))
    except SallyportError as error:
        _log.error("control cannot run", error=str(error))
        return 2


class ControlProcess:
    """Everything that runs in the control process."""

    def __init__(self, source: Source, config: Config) -> None:
        self._source = source
        self._config = config
        self._folders = Folders(config.state)
        self._loaded = time.time()
        self._failure = ""
        self._reloaded = asyncio.Event()
        self._one_reload = asyncio.Lock()

    async def run(self, sock: socket.socket) -> int:
        """Run until told to stop."""
        config = self._config
        self._folders.make()
        self.control = Control(config, compile_policy(config), self._audit)
        self._early: list[Audited] | None = []
        await self.control.start()
        try:
            key = self.control.recording_key
            places = Places(self._folders.recording, key)
            self._journal = Journal(
                places.journals, WRITER, key=key, reserve=config.recording.reserve
            )
            early, self._early = self._early, None
            for event in early:
                self._audit(event)
            self._follower = Follower(self.control.database.engine, places)
            await self._follower.start()
            # What is there by now stays: no collection needs to go over it again.
            gc.collect()
            gc.freeze()
            try:
                await self._serve(sock)
            finally:
                await self._follower.stop()
                await self._journal.close("stopped")
        finally:
            await self.control.stop()
        return 0

    async def reload(self, actor: str, actors: tuple[str, ...] = ()) -> str:
        """Load the file again; whole or not at all. Raises: ConfigError, RecorderLost.

        One after another, so that of two texts the later one stays. `actors` act for `actor`.
        """
        async with self._one_reload:
            return await self._reload(actor, actors)

    async def _reload(self, actor: str, actors: tuple[str, ...]) -> str:
        try:
            config, raw = await asyncio.to_thread(self._source.read)
            policy = compile_policy(config)
            await self.control.reload(config, policy, actor, actors)
        except SallyportError as error:
            self._failure = str(error)
            _log.error("the configuration was not taken; the old one stays", error=str(error))
            raise
        self._config = config
        self._loaded, self._failure = time.time(), ""
        self._reloaded.set()
        try:
            await asyncio.to_thread(self._source.keep, raw)
        except OSError as error:
            self._failure = f"in force, but not for processes that start anew: {error.strerror}"
            _log.error("the configuration cannot be kept", error=str(error))
        return policy.revision

    # --- inside

    async def _serve(self, sock: socket.socket) -> None:
        library = Library(self._follower)
        services = self._services(library)
        settings = self._config.api
        host = settings.address.host or "localhost"
        tls = self._api_tls()
        server = create_server(create_app(services, host=host, tls=tls is not None), tls=tls)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        keeping = loop.create_task(self._keep())
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn stops at them, and raises them again when it has: then they do nothing more.
            loop.add_signal_handler(number, lambda: None)
        end_with_supervisor(loop)
        try:
            await server.serve(sockets=[sock])
        finally:
            keeping.cancel()

    def _services(self, library: Library) -> WebServices:
        control = self.control
        side = SideServices(control)
        surveys = SurveyDesk(control, side)
        desk = PolicyDesk(self._source.file, control, side, self._policy_facts)
        return WebServices(
            identity=control.identity,
            tokens=control.tokens,
            rotation=control.rotation,
            accounts=control.accounts,
            oauth=control.oauth,
            logouts=control.logouts,
            sign_ins=control.sign_ins,
            providers=lambda: login_providers(control.state),
            listeners=lambda: listener_states(self._config),
            reach=ReachDesk(control),
            vault=control.vault,
            approvals=control.approvals,
            access=control.access,
            ask_access=control.ask_access,
            may_approve=control.may_approve,
            registry=control.registry,
            library=library,
            policy=desk,
            targets=lambda: target_states(self._config),
            inspect_target=lambda name: inspect_target(control, side, name),
            surveys=surveys,
            reload=self.reload,
            health=self._health,
            audit=self._audit,
            metrics=lambda: measures(control, self._follower),
            naming=surveys.naming,
        )

    def _policy_facts(self) -> tuple[float, str]:
        return self._loaded, self._failure

    def _audit(self, event: Audited) -> None:
        """Put it on record before it counts. Raises: RecorderLost."""
        if self._early is not None:
            self._early.append(event)
            return
        self._journal.record(event)
        self._journal.flush()

    def _health(self) -> Readiness:
        checks = {
            "workers": "ok" if self.control.hub.workers() else "no worker is connected",
            "journal": self._journal.refusal(WRITER) or "ok",
            "recordings": "; ".join(self._follower.problems.values()) or "ok",
        }
        return Readiness(all(check == "ok" for check in checks.values()), checks)

    def _api_tls(self) -> ssl.SSLContext | None:
        settings = self._config.api.tls
        if settings is None:
            return None
        certificate = resolve_local(str(settings.certificate)).reveal()
        key = resolve_local(str(settings.key)).reveal()
        try:
            return listener_context(certificate, key)
        except ssl.SSLError as error:
            raise ConfigError(
                f"the API's certificate and key cannot be used ({error.reason or 'not PEM'})"
            ) from None

    def _reload_soon(self) -> None:
        self._reloading = asyncio.get_running_loop().create_task(self._reload_quietly())

    async def _reload_quietly(self) -> None:
        with contextlib.suppress(SallyportError):
            await self.reload("SIGHUP")

    async def _keep(self) -> None:
        retention = Retention(self._follower, Rules(), self._audit)
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._reloaded.wait(), RETENTION)
            self._reloaded.clear()
            retention.rules = retention_rules(self._config)
            try:
                await retention.run()
            except (SQLAlchemyError, OSError) as error:
                _log.error("retention failed; tried again later", error=str(error))


def retention_rules(config: Config) -> Rules:
    """Return how long a configuration keeps recordings."""
    settings = config.recording.retention
    return Rules(
        Keeping(settings.age, settings.size),
        {name: Keeping(own.age, own.size) for name, own in settings.targets.items()},
    )


def compile_policy(config: Config) -> Policy:
    """Compile a configuration's policy. Raises: ConfigError."""
    try:
        return Policy(config.policy_document())
    except PolicyError as error:
        raise ConfigError(str(error)) from error
